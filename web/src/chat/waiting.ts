// How long somebody has been waiting for an answer, and how long an answer may still go out.
import type { Message, Room } from '../api/types';

/** When the contact began to wait: the first inbound message after the last reply by a person; null: nobody waits. */
export function waitingSince(messages: readonly Message[]): string | null {
  let since: string | null = null;
  for (const message of messages) {
    if (message.direction === 'inbound') since ??= message.created_at;
    else if (message.direction === 'outbound' && message.status !== 'failed' && message.author.kind !== 'system') since = null;
  }
  return since;
}

export type WindowState = { mode: 'none' | 'open' | 'human_agent' | 'closed'; untilMs: number | null };

/** The messaging window as it is at `nowMs`; the room may have been read long ago. */
export function windowAt(room: Pick<Room, 'window'>, nowMs: number): WindowState {
  const window = room.window;
  if (!window) return { mode: 'none', untilMs: null };
  const open = window.open_until ? Date.parse(window.open_until) : 0;
  if (open > nowMs) return { mode: 'open', untilMs: open };
  const human = window.human_agent_until ? Date.parse(window.human_agent_until) : 0;
  if (human > nowMs) return { mode: 'human_agent', untilMs: human };
  return { mode: 'closed', untilMs: null };
}
