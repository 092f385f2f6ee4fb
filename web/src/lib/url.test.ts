import { expect, test } from 'vitest';
import { mediaUrl, webUrl, withLinks } from './url';

test.each([
  ['https://acme.test/a?b=1', 'https://acme.test/a?b=1'],
  ['HTTP://acme.test', 'http://acme.test/'],
  ['javascript:alert(1)', null],
  [' javascript:alert(1)', null],
  ['java\nscript:alert(1)', null],
  ['data:text/html,<script>1</script>', null],
  ['vbscript:x', null],
  ['file:///etc/passwd', null],
  ['/desk', null],
  ['', null],
])('%j is followed as %j', (given, expected) => expect(webUrl(given)).toBe(expected));

test.each([
  ['/media/1', '/media/1'],
  ['//evil.test/1', null],
  ['/\\evil.test/1', null],
  ['https://cdn.test/1', 'https://cdn.test/1'],
  ['data:image/svg+xml,<svg onload=alert(1)>', null],
])('%j is shown from %j', (given, expected) => expect(mediaUrl(given)).toBe(expected));

test.each([
  ['See https://acme.test/x.', ['See ', '*https://acme.test/x', '.']],
  ['(http://a.test/b) and javascript:alert(1)', ['(', '*http://a.test/b', ') and javascript:alert(1)']],
  ['<a href="https://x.test">', ['<a href="', '*https://x.test', '">']],
  ['nothing', ['nothing']],
  ['', []],
])('links in %j', (given, expected) => {
  const parts = withLinks(given);
  expect(parts.map((it) => (it.href ? '*' : '') + it.text)).toEqual(expected);
  expect(parts.map((it) => it.text).join('')).toBe(given);
});
