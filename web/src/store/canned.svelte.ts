// Canned answers: read when first asked for, and again when that was long ago.
import { api, askAll } from '../api/client';
import type { components } from '../api/schema';
import type { Room } from '../api/types';

export type CannedAnswer = components['schemas']['CannedAnswer'];

const FRESH_MS = 5 * 60_000;
const MOST_SHOWN = 8;

class Canned {
  all = $state.raw<CannedAnswer[]>([]);
  isLoaded = $state(false);
  #readAt = 0;

  async load() {
    if (Date.now() - this.#readAt < FRESH_MS) return;
    this.#readAt = Date.now();
    try {
      this.all = await askAll((after) => api.GET('/api/v1/canned-answers', { params: { query: { limit: 200, after } } }));
      this.isLoaded = true;
    } catch {
      this.#readAt = 0;
    }
  }

  /** Those of the queue whose shortcut begins with, or that contain, the words; the queue's own before the common ones. */
  find(words: string, queueId: string | null): CannedAnswer[] {
    const rank = (it: CannedAnswer) => (it.shortcut.startsWith(words) ? 0 : 2) + (it.queue_id ? 0 : 1);
    return this.all
      .filter((it) => (!it.queue_id || it.queue_id === queueId) && (it.shortcut.includes(words) || it.text.toLocaleLowerCase().includes(words)))
      .sort((a, b) => rank(a) - rank(b) || a.shortcut.localeCompare(b.shortcut))
      .slice(0, MOST_SHOWN);
  }

  /** The text with its placeholders filled in; an unknown name leaves nothing behind. */
  filled(answer: CannedAnswer, room: Room, agentName: string): string {
    const { name, first_name } = room.contact;
    const values: Record<string, string> = { first_name: first_name ?? name ?? '', name: name ?? '', agent_name: agentName, display_name: room.widget.name };
    return answer.text.replace(/\{(\w+)\}/g, (whole, key: string) => values[key] ?? whole);
  }
}
export const canned = new Canned();
