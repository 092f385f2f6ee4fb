import { expect, test } from 'vitest';
import { directionOf } from './direction';

test.each([
  ['en', 'ltr'],
  ['tr', 'ltr'],
  ['ar', 'rtl'],
  ['he', 'rtl'],
  ['fa-IR', 'rtl'],
  ['UR_pk', 'rtl'],
  ['arn', 'ltr'],
])('%s runs %s', (language, direction) => {
  expect(directionOf(language)).toBe(direction);
});
