// Every room the desk knows, once, by id. Lists are derived; a room is replaced, never edited.
import { SvelteMap } from 'svelte/reactivity';
import type { Contact, Message, Room } from '../api/types';
import { session } from './session.svelte';

/** Closed rooms kept for "recently closed" and for reading on. */
const MOST_CLOSED = 100;

export type Change = 'offered' | 'gained' | 'lost' | 'closed' | null;

const isOfferTo = (room: Room, me: string | undefined) => room.status === 'offered' && room.offer?.agent_id === me;
const isHeldBy = (room: Room, me: string | undefined) => room.status === 'active' && room.agent?.id === me;

export const isOfferedToMe = (room: Room) => isOfferTo(room, session.me?.id);
export const isMine = (room: Room) => isHeldBy(room, session.me?.id);

/** What applying `room` over `before` means to the agent `me`. */
export function changeOf(before: Room | undefined, room: Room, me: string | undefined): Change {
  const was = before && (isOfferTo(before, me) || isHeldBy(before, me));
  if (isOfferTo(room, me)) return before && isOfferTo(before, me) && before.offer?.expires_at === room.offer?.expires_at ? null : 'offered';
  if (isHeldBy(room, me)) return before && isHeldBy(before, me) ? null : 'gained';
  if (!was) return null;
  return room.status === 'closed' && before && isHeldBy(before, me) ? 'closed' : 'lost';
}

class Rooms {
  byId = new SvelteMap<string, Room>();
  /** The newest message of each room, where one was seen. */
  lastLine = new SvelteMap<string, Message>();
  /** Until when (ms) the contact is seen typing. */
  typingUntil = new SvelteMap<string, number>();
  /** Rooms I held that were closed, newest first. */
  closedIds = $state.raw<string[]>([]);
  /** The room on the screen. */
  selectedId = $state<string | null>(null);
  /** Opened by key: its reply field takes the focus as soon as it is there. */
  toWriteIn = $state<string | null>(null);
  /** Read at least once. */
  isLoaded = $state(false);

  offered = $derived.by(() => this.#list(isOfferedToMe).sort((a, b) => (a.offer?.expires_at ?? '').localeCompare(b.offer?.expires_at ?? '')));
  mine = $derived.by(() => this.#list(isMine).sort((a, b) => (b.accepted_at ?? '').localeCompare(a.accepted_at ?? '')));
  recent = $derived(this.closedIds.flatMap((id) => this.byId.get(id) ?? []).filter((it) => it.status === 'closed'));
  /** Everything open, longest waiting first. */
  open = $derived.by(() => this.#list((it) => it.status !== 'closed').sort((a, b) => (a.queued_at ?? a.opened_at).localeCompare(b.queued_at ?? b.opened_at)));
  unread = $derived(this.mine.reduce((sum, it) => sum + it.unread, 0));

  #list(which: (room: Room) => boolean): Room[] {
    return [...this.byId.values()].filter(which);
  }

  put(room: Room): Change {
    const before = this.byId.get(room.id);
    const change = changeOf(before, room, session.me?.id);
    const wasMine = before !== undefined && (isMine(before) || this.closedIds.includes(room.id));
    // The answer to a request may be older than the messages that the stream has brought.
    const isBehind = before !== undefined && room.status !== 'closed' && before.last_seq > room.last_seq;
    this.byId.set(room.id, isBehind ? { ...room, last_seq: before.last_seq, unread: before.unread } : room);
    if (room.status === 'closed' && wasMine && !this.closedIds.includes(room.id)) {
      this.closedIds = [room.id, ...this.closedIds].slice(0, MOST_CLOSED);
    }
    if (room.status !== 'closed') this.closedIds = this.closedIds.filter((id) => id !== room.id);
    this.#drop(room.id);
    return change;
  }

  /** What nobody looks at any more goes; the open room does not vanish under its reader. */
  #drop(id: string) {
    const room = this.byId.get(id);
    if (!room || id === this.selectedId || this.closedIds.includes(id)) return;
    if (room.status === 'closed' || !(session.watches || isMine(room) || isOfferedToMe(room))) this.forget(id);
  }

  select(id: string | null) {
    const left = this.selectedId;
    this.selectedId = id;
    if (left && left !== id) this.#drop(left);
  }

  /** A message was written: the room's place in lists and its count of unread change with it. */
  note(message: Message) {
    const last = this.lastLine.get(message.room_id);
    if (!last || message.seq >= last.seq) this.lastLine.set(message.room_id, message);
    if (message.direction === 'inbound') this.typingUntil.delete(message.room_id);
    const room = this.byId.get(message.room_id);
    if (!room || message.seq <= room.last_seq) return;
    const changed = { ...room, last_seq: message.seq };
    if (message.direction === 'inbound') changed.unread += 1;
    // An answer tells by itself what it changes.
    if (message.direction === 'outbound' && message.author.kind === 'agent') changed.unread = 0;
    if (message.direction === 'outbound' && message.author.kind !== 'system') changed.agent_silent_since = null;
    this.byId.set(room.id, changed);
  }

  patch(id: string, change: Partial<Room>) {
    const room = this.byId.get(id);
    if (room) this.byId.set(id, { ...room, ...change });
  }

  contact(contact: Contact) {
    for (const room of this.byId.values()) {
      if (room.contact.id !== contact.id) continue;
      const { name, first_name, picture_url, email, phone } = contact;
      this.byId.set(room.id, { ...room, contact: { ...room.contact, name, first_name, picture_url, email, phone } });
    }
  }

  forget(id: string) {
    this.byId.delete(id);
    this.lastLine.delete(id);
    this.closedIds = this.closedIds.filter((it) => it !== id);
  }
}
export const rooms = new Rooms();
