import { expect, test } from 'vitest';
import type { Message } from '../api/types';
import { waitingSince, windowAt } from './waiting';

/** "i1 o2 s3 f4": inbound, a person's reply, an automatic text, a failed reply, each at that second. */
const talk = (text: string) =>
  text.split(' ').filter(Boolean).map((it) => ({
    direction: it[0] === 'i' ? 'inbound' : it[0] === 'n' ? 'note' : 'outbound',
    status: it[0] === 'f' ? 'failed' : 'sent',
    author: { kind: it[0] === 's' ? 'system' : 'agent' },
    created_at: it.slice(1),
  })) as unknown as Message[];

test.each([
  ['', null],
  ['i1', '1'],
  ['i1 i2', '1'],
  ['i1 o2', null],
  ['i1 o2 i3 i4', '3'],
  ['i1 s2', '1'],
  ['i1 f2', '1'],
  ['o1 n2', null],
])('after %j somebody waits since %j', (given, expected) => expect(waitingSince(talk(given))).toBe(expected));

test('the window closes while it is looked at', () => {
  const at = (ms: number) => new Date(ms).toISOString();
  const room = { window: { mode: 'standard' as const, open_until: at(1000), human_agent_until: at(7000) } };
  expect(windowAt(room, 999)).toEqual({ mode: 'open', untilMs: 1000 });
  expect(windowAt(room, 1000)).toEqual({ mode: 'human_agent', untilMs: 7000 });
  expect(windowAt(room, 7000)).toEqual({ mode: 'closed', untilMs: null });
  expect(windowAt({ window: null }, 0).mode).toBe('none');
});
