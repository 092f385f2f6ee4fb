// Replies on their way to the gateway: in order within a room, each with its own Idempotency-Key, so that a lost answer
// can be asked for again without sending twice.
import { SvelteMap } from 'svelte/reactivity';
import { api, ask, newKey } from '../api/client';
import { Problem, Unreachable } from '../api/problem';
import type { Content, Message } from '../api/types';
import { i18n } from '../i18n/index.svelte';
import { threads } from './threads.svelte';

/** Pauses between attempts while the gateway is out of reach. */
const RETRY_MS = [1000, 2000, 4000, 8000, 15_000];

export interface Pending {
  key: string;
  roomId: string;
  isNote: boolean;
  content: Content;
  /** The message it answers. */
  replyTo: string | null;
  seenSeq: number;
  /** `held`: somebody wrote in between; `refused`: the gateway said no, `reason` says why. */
  state: 'sending' | 'waiting' | 'held' | 'refused';
  reason: string;
  newer: Message[];
  at: string;
}

class Outbox {
  byRoom = new SvelteMap<string, Pending[]>();
  #working = new Set<string>();

  of(roomId: string): Pending[] {
    return this.byRoom.get(roomId) ?? [];
  }

  /** Whether a reply must be decided about before another may follow. */
  isBlocked(roomId: string): boolean {
    return this.of(roomId).some((it) => it.state === 'held' || it.state === 'refused');
  }

  send(roomId: string, content: Content, { isNote = false, seenSeq = threads.of(roomId).lastSeq, replyTo = null as string | null } = {}) {
    const pending: Pending = { key: newKey(), roomId, isNote, content, replyTo, seenSeq, state: 'sending', reason: '', newer: [], at: new Date().toISOString() };
    this.byRoom.set(roomId, [...this.of(roomId), pending]);
    void this.#work(roomId);
  }

  /** Sends a held or refused reply after all, as a new request that has seen everything. */
  again(pending: Pending) {
    const newest = Math.max(threads.of(pending.roomId).lastSeq, ...pending.newer.map((it) => it.seq));
    this.#change(pending, { key: newKey(), state: 'sending', seenSeq: newest, newer: [] });
    void this.#work(pending.roomId);
  }

  drop(pending: Pending) {
    this.#set(pending.roomId, this.of(pending.roomId).filter((it) => it.key !== pending.key));
    void this.#work(pending.roomId);
  }

  async #work(roomId: string) {
    if (this.#working.has(roomId)) return;
    this.#working.add(roomId);
    try {
      for (let failures = 0; ; ) {
        const next = this.of(roomId)[0];
        if (!next || next.state === 'held' || next.state === 'refused') return;
        try {
          threads.putAnswer(await this.#post(next));
          this.#set(roomId, this.of(roomId).filter((it) => it.key !== next.key));
          failures = 0;
        } catch (error) {
          if (!(await this.#failed(next, error, failures))) return;
          failures += 1;
        }
      }
    } finally {
      this.#working.delete(roomId);
    }
  }

  #post({ roomId, content, replyTo, seenSeq, key, isNote }: Pending): Promise<Message> {
    const path = { id: roomId };
    if (isNote) return ask(api.POST('/api/v1/rooms/{id}/notes', { params: { path }, body: { text: content.kind === 'text' ? content.text : '' } }));
    return ask(api.POST('/api/v1/rooms/{id}/messages', {
      params: { path, header: { 'Idempotency-Key': key } },
      body: { content, reply_to: replyTo, seen_seq: seenSeq },
    }));
  }

  /** Whether to go on with this room. */
  async #failed(pending: Pending, error: unknown, failures: number): Promise<boolean> {
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 15_000;
    if (error instanceof Unreachable || (error instanceof Problem && (error.status >= 500 || error.status === 429 || error.status === 401))) {
      // A note has no key that would recognise it: asked twice it may be written twice, so a person decides.
      if (pending.isNote && error instanceof Unreachable) return this.#refuse(pending, i18n.t.composer.noAnswer);
      this.#change(pending, { state: 'waiting' });
      const after = error instanceof Problem && error.retryAfterS ? error.retryAfterS * 1000 : wait;
      await new Promise((done) => setTimeout(done, after));
      return this.of(pending.roomId).some((it) => it.key === pending.key);
    }
    if (error instanceof Problem && error.slug === 'newer-messages') {
      const newer = Array.isArray(error.body.messages) ? (error.body.messages as Message[]) : [];
      for (const message of newer) threads.putAnswer(message);
      this.#change(pending, { state: 'held', newer });
      return false;
    }
    const problem = error instanceof Problem ? error : null;
    return this.#refuse(pending, problem ? problem.words : i18n.t.errors.unknown);
  }

  #refuse(pending: Pending, reason: string): false {
    this.#change(pending, { state: 'refused', reason });
    return false;
  }

  #change(pending: Pending, change: Partial<Pending>) {
    this.#set(pending.roomId, this.of(pending.roomId).map((it) => (it.key === pending.key ? { ...it, ...change } : it)));
  }

  #set(roomId: string, list: Pending[]) {
    if (list.length === 0) this.byRoom.delete(roomId);
    else this.byRoom.set(roomId, list);
  }
}
export const outbox = new Outbox();
