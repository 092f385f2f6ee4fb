import { expect, test } from 'vitest';
import type { QueueMember, Room } from '../api/types';
import type { Colleague } from '../store/agents.svelte';
import { queueLines } from './queues';

const room = (status: string, queue: string | null, at = '2026-01-01') => ({ status, queue: queue && { id: queue, name: queue }, queued_at: at, opened_at: at }) as unknown as Room;
const agent = (id: string, status: string, max_chats = 4) => ({ id, status, max_chats }) as unknown as Colleague;

test('a queue counts its rooms and the seats of its ready members', () => {
  const rooms = [room('waiting', 'a', '2026-02-02'), room('waiting', 'a', '2026-02-01'), room('offered', 'a'), room('active', 'b'), room('active', null)];
  const agents = [agent('ben', 'ready'), agent('cleo', 'ready', 1), agent('dan', 'away'), agent('eve', 'ready')];
  const members = { a: ['ben', 'cleo', 'dan'].map((user_id) => ({ user_id }) as unknown as QueueMember) };
  const queues = [{ id: 'a', name: 'A' }, { id: 'b', name: 'B' }];
  const [a, b, without, ...rest] = queueLines(queues, rooms, agents, members, { ben: 1, cleo: 3 });
  expect(a).toEqual({ id: 'a', name: 'A', waiting: 2, offered: 1, active: 0, oldest: '2026-02-01', ready: 2, freeSeats: 3, members: 3 });
  expect(b).toMatchObject({ active: 1, waiting: 0, oldest: null, ready: 0, members: 0 });
  expect(without).toMatchObject({ id: null, active: 1 });
  expect(rest).toEqual([]);
  expect(queueLines([], [], [], {}, {})).toEqual([]);
});
