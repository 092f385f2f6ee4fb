// The event stream: opened once, resumed from the last cursor when the line breaks, watched for silence.
import type { EventOf } from '../api/types';
import { SseParser } from './sse';

/** The gateway says something every 15 s; after this long a silent line is a dead one. */
const SILENCE_MS = 40_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

export type StreamState = 'connecting' | 'live' | 'down';

export interface Follower {
  /** Connected. Without a cursor (`isFresh`) whatever happened before is unknown and must be read. */
  onOpen(isFresh: boolean): void;
  onEvent(event: EventOf): void;
  onState(state: StreamState): void;
  /** The gateway does not know this session any more. Following has stopped. */
  onSessionEnd(): void;
}

/** Follows until the returned function is called. */
export function follow(follower: Follower): () => void {
  let cursor: string | null = null;
  let refusals = 0;
  let stopped = false;
  let attempt = new AbortController();
  let wake = () => {};

  async function run() {
    let failures = 0;
    while (!stopped) {
      follower.onState(failures === 0 ? 'connecting' : 'down');
      attempt = new AbortController();
      const outcome = await connect(attempt, () => (failures = 0));
      if (stopped) return;
      if (outcome === 401) return follower.onSessionEnd();
      follower.onState('down');
      // A cursor that the gateway refuses (too old, another database) must not lock the desk out.
      refusals = outcome === 422 ? refusals + 1 : 0;
      if (refusals > 1) cursor = null;
      failures += 1;
      const wait = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 6)) * (0.75 + Math.random() / 2);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, wait);
        wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }

  /** One connection, to its end; the status the gateway refused it with, or null. */
  async function connect(own: AbortController, opened: () => void): Promise<number | null> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => own.abort(), SILENCE_MS);
    };
    try {
      heard();
      const headers: Record<string, string> = { accept: 'text/event-stream' };
      if (cursor) headers['last-event-id'] = cursor;
      const response = await fetch('/api/v1/events', { headers, credentials: 'same-origin', cache: 'no-store', signal: own.signal });
      if (!response.ok || !response.body) return response.status;
      opened();
      follower.onState('live');
      follower.onOpen(cursor === null);
      const parser = new SseParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || stopped) return null;
        heard();
        for (const { id, data } of parser.push(value)) {
          cursor = id;
          follower.onEvent(JSON.parse(data) as EventOf);
        }
      }
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
      own.abort();
    }
  }

  // Back from sleep or a lost network nobody wants to wait out the pause; gone offline, nobody wants to be told "live".
  const online = () => wake();
  const offline = () => attempt.abort();
  addEventListener('online', online);
  addEventListener('offline', offline);
  void run();

  return () => {
    stopped = true;
    removeEventListener('online', online);
    removeEventListener('offline', offline);
    attempt.abort();
    wake();
  };
}
