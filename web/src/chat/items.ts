// What the transcript shows, line by line: days, messages in groups, replies on their way.
import type { Content, Message } from '../api/types';
import { sameDay } from '../lib/time';
import type { Pending } from '../store/outbox.svelte';
import { summary } from '../lib/summary';

/** Messages of one author closer than this belong together. */
const GROUP_MS = 5 * 60_000;

export type Item =
  | { kind: 'day'; key: string; at: string }
  | { kind: 'message'; key: string; message: Message; isFirst: boolean; isLast: boolean }
  | { kind: 'pending'; key: string; pending: Pending };

const groups = (a: Message | undefined, b: Message | undefined) =>
  a !== undefined && b !== undefined && a.direction === b.direction && a.direction !== 'system' && a.author.kind === b.author.kind && a.author.id === b.author.id &&
  Date.parse(b.created_at) - Date.parse(a.created_at) < GROUP_MS && sameDay(a.created_at, b.created_at);

export function itemsOf(messages: readonly Message[], pending: readonly Pending[], me: string | undefined): Item[] {
  const items: Item[] = [];
  messages.forEach((message, at) => {
    const before = messages[at - 1];
    if (!before || !sameDay(before.created_at, message.created_at)) items.push({ kind: 'day', key: `day-${message.created_at}`, at: message.created_at });
    items.push({ kind: 'message', key: message.id, message, isFirst: !groups(before, message), isLast: !groups(message, messages[at + 1]) });
  });
  for (const it of pending) {
    if (!hasArrived(it, messages, me)) items.push({ kind: 'pending', key: it.key, pending: it });
  }
  return items;
}

/** What Messenger takes in several messages is shown in several: text, then file by file. */
function firstPart(content: Content): string {
  const [first] = content.kind === 'attachments' ? content.attachments : [];
  if (content.kind !== 'attachments' || !first) return summary(content);
  return content.text || summary({ kind: 'attachments', attachments: [first] });
}

/** The stream is often quicker than the answer to the request; then the message stands above already. */
function hasArrived(pending: Pending, messages: readonly Message[], me: string | undefined): boolean {
  if (pending.state !== 'sending' && pending.state !== 'waiting') return false;
  const words = firstPart(pending.content);
  return messages.slice(-8).some((it) => it.seq > pending.seenSeq && it.author.id === me && it.direction === (pending.isNote ? 'note' : 'outbound') && summary(it.content) === words);
}
