// Files on their way into replies, by room: uploaded at once, so that sending is quick; kept while somebody looks at another chat.
import { SvelteMap } from 'svelte/reactivity';
import { newKey } from '../api/client';
import { Problem } from '../api/problem';
import type { Attachment } from '../api/types';
import { upload } from '../api/upload';
import { i18n } from '../i18n/index.svelte';

/** Messenger's limit for one reply. */
export const MOST_FILES = 10;

export interface Upload {
  key: string;
  file: File;
  /** 0–1 */
  share: number;
  /** There once the gateway has it. */
  attachment: Attachment | null;
  /** Why it could not be uploaded. */
  reason: string | null;
  /** The same file may do better the next time. */
  mayRetry: boolean;
  stop: AbortController;
}

class Uploads {
  byRoom = new SvelteMap<string, Upload[]>();

  of(roomId: string): Upload[] {
    return this.byRoom.get(roomId) ?? [];
  }

  /** Begins to upload; how many there was no place for. */
  add(roomId: string, files: Iterable<File>): number {
    const all = [...files];
    const free = Math.max(0, MOST_FILES - this.of(roomId).length);
    for (const file of all.slice(0, free)) {
      const it: Upload = { key: newKey(), file, share: 0, attachment: null, reason: null, mayRetry: false, stop: new AbortController() };
      this.byRoom.set(roomId, [...this.of(roomId), it]);
      void this.#work(roomId, it);
    }
    return Math.max(0, all.length - free);
  }

  again(roomId: string, it: Upload) {
    const fresh = { share: 0, reason: null, stop: new AbortController() };
    this.#change(roomId, it.key, fresh);
    void this.#work(roomId, { ...it, ...fresh });
  }

  /** Takes it out of the reply. What the gateway has of it goes after a day. */
  remove(roomId: string, key: string) {
    const left = this.of(roomId).filter((it) => {
      if (it.key === key) it.stop.abort();
      return it.key !== key;
    });
    if (left.length === 0) this.byRoom.delete(roomId);
    else this.byRoom.set(roomId, left);
  }

  /** What is ready to be sent; from now on it belongs to the reply. */
  take(roomId: string): Attachment[] {
    const ready = this.of(roomId).flatMap((it) => it.attachment ?? []);
    this.byRoom.delete(roomId);
    return ready;
  }

  async #work(roomId: string, { key, file, stop }: Upload) {
    try {
      const attachment = await upload(roomId, file, (share) => this.#change(roomId, key, { share }), stop.signal);
      this.#change(roomId, key, { attachment });
    } catch (error) {
      const words = error instanceof Problem ? error.words : i18n.t.errors.notDone;
      this.#change(roomId, key, { reason: words, mayRetry: !(error instanceof Problem) || error.retryAfterS !== null });
    }
  }

  #change(roomId: string, key: string, change: Partial<Upload>) {
    if (!this.byRoom.has(roomId)) return;
    this.byRoom.set(roomId, this.of(roomId).map((it) => (it.key === key ? { ...it, ...change } : it)));
  }
}
export const uploads = new Uploads();
