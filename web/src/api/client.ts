// Talks to the gateway. The session is the HttpOnly cookie; the token in the login answer is never read, so no script
// can hold or leak it.
import createClient from 'openapi-fetch';
import { noteServerTime } from '../lib/clock.svelte';
import { Problem, Unreachable } from './problem';
import type { paths } from './schema';

/** Longest wait for an answer. Uploads have their own. */
const TIMEOUT_MS = 30_000;

let onSessionEnd = () => {};
/** Whom to tell when the gateway no longer knows this session. */
export function whenSessionEnds(callback: () => void) {
  onSessionEnd = callback;
}

async function fetchOrUnreachable(request: Request): Promise<Response> {
  let response;
  try {
    response = await fetch(new Request(request, { signal: AbortSignal.timeout(TIMEOUT_MS) }));
  } catch {
    throw new Unreachable();
  }
  noteServerTime(response.headers.get('date'));
  return response;
}

export const api = createClient<paths>({
  baseUrl: location.origin,
  credentials: 'same-origin',
  cache: 'no-store',
  fetch: fetchOrUnreachable,
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The answer's body, or a [`Problem`]. A 401 also ends the session here, unless it answers a login. */
export async function ask<T>(call: Promise<Answer<T>>, { isLogin = false } = {}): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  throw problemOf(response.status, error, response.headers.get('retry-after'), { isLogin });
}

/** What the gateway says no with. */
export function problemOf(status: number, error: unknown, retryAfter: string | null, { isLogin = false } = {}): Problem {
  if (status === 401 && !isLogin) onSessionEnd();
  const body = typeof error === 'object' && error !== null ? (error as Record<string, unknown>) : {};
  return new Problem(status, body, Number(retryAfter) || null);
}

/** Every item of a list, page after page. */
export async function askAll<T>(page: (after: string | undefined) => Promise<Answer<{ items: T[]; next?: string | null }>>): Promise<T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const answer = await ask(page(after));
    items.push(...answer.items);
    after = answer.next ?? undefined;
  } while (after);
  return items;
}

/** A new Idempotency-Key. `randomUUID` exists only on https and localhost; the key just has to be new. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
