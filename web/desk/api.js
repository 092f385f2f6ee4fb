// Talks to the gateway. The session is the HttpOnly cookie; the token in the login answer is never read, so no
// script can hold or leak it.

export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body?.detail || body?.title || `The gateway answered ${status}.`);
    this.status = status;
    this.slug = String(body?.type ?? '').split('/').filter(Boolean).pop() ?? '';
    this.errors = Array.isArray(body?.errors) ? body.errors : [];
    this.body = body ?? {};
    this.retryAfter = retryAfter;
  }

  /** The sentence for one field, by its JSON pointer. */
  at(pointer) {
    const found = this.errors.filter((it) => it.pointer === pointer || it.pointer?.startsWith(`${pointer}/`));
    return found.length > 0 ? found.map((it) => it.detail).join(' ') : null;
  }
}

/** The gateway could not be reached: nobody knows whether it did what was asked. */
export class Unreachable extends Error {
  constructor() {
    super('The gateway cannot be reached.');
  }
}

let onLoggedOut = () => {};
export function whenLoggedOut(callback) {
  onLoggedOut = callback;
}

// Offers expire by the server's clock, so countdowns use it. The Date header is only good to a second; smaller
// differences are left alone.
let skewMs = 0;
export const serverNow = () => Date.now() + skewMs;

function noteClock(response) {
  const served = Date.parse(response.headers.get('date') ?? '');
  if (Number.isNaN(served)) return;
  const difference = served + 500 - Date.now();
  skewMs = Math.abs(difference) > 2000 ? difference : 0;
}

export async function call(method, path, body, { headers = {}, quiet401 = false } = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: { accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
  } catch {
    throw new Unreachable();
  }
  noteClock(response);
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  let answer = null;
  if (isJson && response.status !== 204) {
    try {
      answer = await response.json();
    } catch {
      if (response.ok) throw new Unreachable();
    }
  }
  if (response.ok) return answer;
  if (response.status === 401 && !quiet401) onLoggedOut();
  throw new Problem(response.status, answer, Number(response.headers.get('retry-after')) || null);
}

export const get = (path, options) => call('GET', path, undefined, options);
export const post = (path, body, options) => call('POST', path, body, options);
export const put = (path, body, options) => call('PUT', path, body, options);
export const patch = (path, body, options) => call('PATCH', path, body, options);
export const del = (path, options) => call('DELETE', path, undefined, options);

/** Every item of a list, page after page. */
export async function getAll(path) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(`${path}?limit=200${cursor ? `&after=${encodeURIComponent(cursor)}` : ''}`);
    items.push(...(page?.items ?? []));
    cursor = page?.next ?? null;
  } while (cursor);
  return items;
}

export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // randomUUID exists only on https and localhost; the key just has to be new.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
