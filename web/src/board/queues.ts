// The live board's numbers, from the rooms that the desk knows.
import type { QueueMember, Room } from '../api/types';
import type { Colleague } from '../store/agents.svelte';

export interface QueueLine {
  id: string | null;
  name: string;
  waiting: number;
  offered: number;
  active: number;
  /** When the one who waits longest entered; null: nobody waits. */
  oldest: string | null;
  ready: number;
  freeSeats: number;
  members: number;
}

interface Named {
  id: string;
  name: string;
}

/** One line for each queue, and one for rooms without a queue if there are any. */
export function queueLines(queues: readonly Named[], rooms: readonly Room[], agents: readonly Colleague[], members: Readonly<Record<string, readonly QueueMember[]>>, load: Readonly<Record<string, number>>): QueueLine[] {
  const line = (id: string | null, name: string): QueueLine => {
    const own = rooms.filter((it) => (it.queue?.id ?? null) === id);
    const waiting = own.filter((it) => it.status === 'waiting');
    const ids = new Set((id ? members[id] : undefined)?.map((it) => it.user_id) ?? []);
    const ready = agents.filter((it) => ids.has(it.id) && it.status === 'ready');
    return {
      id,
      name,
      waiting: waiting.length,
      offered: own.filter((it) => it.status === 'offered').length,
      active: own.filter((it) => it.status === 'active').length,
      oldest: waiting.map((it) => it.queued_at ?? it.opened_at).sort()[0] ?? null,
      ready: ready.length,
      freeSeats: ready.reduce((sum, it) => sum + Math.max(0, it.max_chats - (load[it.id] ?? 0)), 0),
      members: ids.size,
    };
  };
  const lines = queues.map((it) => line(it.id, it.name));
  const without = line(null, '');
  return without.waiting + without.offered + without.active > 0 ? [...lines, without] : lines;
}
