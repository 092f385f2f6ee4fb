import { expect, test } from 'vitest';
import { pieces } from './week';

const draw = (text: string) => {
  const [day = '', from = '', to = ''] = text.split(' ');
  return pieces([{ day, from, to }]).map((it) => `${it.day} ${it.from}-${it.to}`);
};

test.each([
  ['mon 09:00 18:00', ['0 540-1080']],
  ['sun 22:00 02:00', ['6 1320-1440', '0 0-120']],
  ['tue 00:00 24:00', ['1 0-1440']],
  ['tue 08:00 00:00', ['1 480-1440']],
  ['wed 09:00 09:00', ['2 540-1440', '3 0-540']],
  ['odd 09:00 10:00', []],
])('%j is drawn as %j', (given, expected) => expect(draw(given)).toEqual(expected));
