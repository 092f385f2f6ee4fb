// The event stream. The browser resumes by itself with Last-Event-ID; when it gives up (an error answer instead of
// a stream) this file tries again from the last cursor, more and more slowly.

const KINDS = [
  'room.opened', 'room.queued', 'room.offered', 'room.offer_expired', 'room.accepted', 'room.declined',
  'room.transferred', 'room.closed', 'room.updated', 'message.created', 'message.updated', 'contact.updated',
  'contact.typing', 'agent.status_changed', 'widget.health_changed',
];
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

/**
 * `onOpen` runs at every (re)connection, `onEvent` for every event, `onState` with "live", "connecting" or "down".
 * `mayRetry` is asked before a new attempt; it answers false when the session has ended.
 */
export function follow({ onOpen, onEvent, onState, mayRetry }) {
  let source = null;
  let cursor = null;
  let timer = null;
  let failures = 0;
  let stopped = false;

  function connect() {
    clearTimeout(timer);
    if (stopped) return;
    source?.close();
    onState('connecting');
    source = new EventSource(cursor ? `/api/v1/events?after=${encodeURIComponent(cursor)}` : '/api/v1/events');
    source.addEventListener('open', () => {
      failures = 0;
      onState('live');
      onOpen();
    });
    source.addEventListener('error', () => {
      if (stopped) return;
      if (source.readyState === EventSource.CLOSED) retry();
      else onState('connecting');
    });
    for (const kind of KINDS) source.addEventListener(kind, receive);
  }

  function receive(message) {
    let event;
    try {
      event = JSON.parse(message.data);
    } catch {
      return;
    }
    cursor = event.id ?? message.lastEventId;
    onEvent(event);
  }

  function retry() {
    onState('down');
    failures += 1;
    // A cursor the gateway no longer knows must not lock the desk out; onOpen reloads everything anyway.
    if (failures === 3) cursor = null;
    const wait = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
    timer = setTimeout(async () => {
      if (await mayRetry()) connect();
      else if (!stopped) retry();
    }, wait * (0.75 + Math.random() / 2));
  }

  // Coming back from sleep or a lost network, nobody wants to wait out the pause.
  function online() {
    if (source?.readyState === EventSource.CLOSED) connect();
  }
  addEventListener('online', online);
  connect();

  return () => {
    stopped = true;
    clearTimeout(timer);
    removeEventListener('online', online);
    source?.close();
  };
}
