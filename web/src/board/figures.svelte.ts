// Today's figures of the queues, from the gateway's live stream: what the rooms that the desk knows cannot tell.
import { SvelteMap } from 'svelte/reactivity';
import type { Live, LiveQueue } from '../api/types';

export class Figures {
  byQueue = new SvelteMap<string, LiveQueue>();

  /** Follows until the returned function is called. The browser connects again by itself. `onNews`: a queue or agent is new or gone. */
  follow(onNews: () => void): () => void {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const stream = new EventSource(`/api/v1/live?time_zone=${encodeURIComponent(zone)}`);
    stream.addEventListener('snapshot', (event) => {
      this.take(event.data as string, true);
      onNews();
    });
    stream.addEventListener('changed', (event) => this.take(event.data as string, false));
    return () => stream.close();
  }

  /** A snapshot has all queues, a change only some. */
  take(data: string, isWhole: boolean) {
    const { queues = [] } = JSON.parse(data) as Partial<Live>;
    if (isWhole) this.byQueue.clear();
    for (const queue of queues) this.byQueue.set(queue.id, queue);
  }
}
