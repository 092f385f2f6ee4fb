import { expect, test } from 'vitest';
import { merge } from './merge';

const list = (text: string) => text.split(' ').filter(Boolean).map((it) => ({ id: it, seq: Number.parseInt(it, 10) }));

test.each([
  ['', '1 2', '1 2'],
  ['1 2', '', '1 2'],
  ['1 2', '3 4', '1 2 3 4'],
  ['3 4', '1 2', '1 2 3 4'],
  ['1 2 3', '2b', '1 2b 3'],
  ['1 4', '2 3 4b 5', '1 2 3 4b 5'],
])('%j with %j is %j', (known, newer, expected) => {
  expect(merge(list(known), list(newer)).map((it) => it.id)).toEqual(expected.split(' '));
});
