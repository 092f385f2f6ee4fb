// The messages of the rooms that were opened, in order of seq, read from the end backwards as far as somebody scrolls.
import { SvelteMap } from 'svelte/reactivity';
import { api, ask } from '../api/client';
import type { Message } from '../api/types';
import { merge } from '../lib/merge';
import { rooms } from './rooms.svelte';

const PAGE = 60;
/** Whoever reads backwards wants more: the most that the gateway gives at once. */
const OLDER_PAGE = 200;
/** Rooms whose messages stay in memory; the ones looked at longest ago go first, never the one on the screen. */
const MOST_THREADS = 40;

export class Thread {
  messages = $state.raw<Message[]>([]);
  hasOlder = $state(false);
  isLoading = $state(false);
  isLoaded = $state(false);
  /** Grew at the beginning just now: the list keeps its place. */
  grewOlder = $state(false);
  usedAt = 0;

  constructor(readonly roomId: string) {}

  get lastSeq(): number {
    return this.messages.at(-1)?.seq ?? 0;
  }

  // What came by event while a page was being read is newer than the page.
  #newer: string[] = [];

  /** Takes in a message that was just written or changed. */
  put(message: Message) {
    if (this.isLoading) this.#newer.push(message.id);
    const oldest = this.messages[0];
    // From before the loaded part: it comes with its page, alone it would leave a hole.
    if (oldest && message.seq < oldest.seq && this.hasOlder) return;
    this.messages = merge(this.messages, [message]);
    this.grewOlder = false;
  }

  /** Reads the newest page; what lies between it and what was known before is read later, or forgotten. */
  async loadNewest() {
    this.isLoading = true;
    try {
      const items = await this.#page(2 ** 31);
      const first = items[0]?.seq ?? 1;
      const isGap = this.isLoaded && first > this.lastSeq + 1;
      this.messages = isGap ? merge(items, this.messages.filter((it) => it.seq >= first)) : merge(this.messages, items);
      if (!this.isLoaded || isGap) this.hasOlder = (this.messages[0]?.seq ?? 1) > 1;
      this.grewOlder = false;
      this.isLoaded = true;
      for (const message of items.slice(-1)) rooms.note(message);
    } finally {
      this.isLoading = false;
    }
  }

  async loadOlder() {
    const oldest = this.messages[0];
    if (!this.hasOlder || this.isLoading || !oldest) return;
    this.isLoading = true;
    try {
      const items = await this.#page(oldest.seq, OLDER_PAGE);
      this.grewOlder = true;
      this.messages = merge(this.messages, items);
      this.hasOlder = (items[0]?.seq ?? 1) > 1 && items.length > 0;
    } finally {
      this.isLoading = false;
    }
  }

  async #page(before: number, limit = PAGE): Promise<Message[]> {
    this.#newer = [];
    const { items } = await ask(api.GET('/api/v1/rooms/{id}/messages', { params: { path: { id: this.roomId }, query: { before, limit } } }));
    return items.filter((it) => !this.#newer.includes(it.id));
  }
}

class Threads {
  byRoom = new SvelteMap<string, Thread>();

  of(roomId: string): Thread {
    let thread = this.byRoom.get(roomId);
    if (!thread) {
      this.#makeRoom();
      this.byRoom.set(roomId, (thread = new Thread(roomId)));
    }
    thread.usedAt = Date.now();
    return thread;
  }

  put(message: Message) {
    const thread = this.byRoom.get(message.room_id);
    if (thread?.isLoaded || thread?.isLoading) thread.put(message);
    rooms.note(message);
  }

  /** Takes in the answer to a request: the stream may have told more of the same message already. */
  putAnswer(message: Message) {
    if (!this.byRoom.get(message.room_id)?.messages.some((it) => it.id === message.id)) this.put(message);
  }

  #makeRoom() {
    if (this.byRoom.size < MOST_THREADS) return;
    const oldest = [...this.byRoom.values()].filter((it) => it.roomId !== rooms.selectedId).sort((a, b) => a.usedAt - b.usedAt)[0];
    if (oldest) this.byRoom.delete(oldest.roomId);
  }
}
export const threads = new Threads();
