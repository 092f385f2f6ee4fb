// What the desk knows: me, my rooms, their messages. Screens read it and are told when it changed; nothing here
// touches the page. Rooms and messages are replaced, never edited, so a screen can compare by identity.

import { get, getAll, serverNow } from './api.js';

const PAGE = 50;

export const state = {
  me: null, // {id, name, max_chats}
  status: { status: 'offline', reason: null },
  rooms: new Map(),
  closedIds: [], // closed in this session, newest first
  threads: new Map(), // room id → {byId, hasOlder, loading, loaded}
  typingUntil: new Map(),
  selectedId: null,
  queues: null, // null while I may not list them
  stream: 'connecting',
  notAnAgent: false,
};

const listeners = new Set();
let scheduled = false;

export function subscribe(listener) {
  listeners.add(listener);
}

/** Screens are drawn once for many changes. Not by animation frame: that stops in a hidden tab, and the title must blink there. */
export function changed() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    for (const listener of listeners) listener();
  });
}

export function reset() {
  Object.assign(state, { me: null, status: { status: 'offline', reason: null }, closedIds: [], selectedId: null, queues: null, stream: 'connecting', notAnAgent: false });
  state.rooms.clear();
  state.threads.clear();
  state.typingUntil.clear();
  buffered = null;
}

// ---- Me -----------------------------------------------------------------------------------------------------

export function setMe(answer) {
  const user = answer.user ?? answer;
  const agent = answer.agent ?? answer;
  state.me = { id: user.id, name: user.name ?? user.email, max_chats: agent.max_chats ?? user.max_chats ?? null };
  if (['ready', 'away', 'offline'].includes(agent.status)) setStatus(agent);
}

export function setStatus(agent) {
  state.status = { status: agent.status, reason: agent.reason ?? null };
  changed();
}

// ---- Rooms --------------------------------------------------------------------------------------------------

export const isOfferedToMe = (room) => room.status === 'offered' && room.offer?.agent_id === state.me?.id;
export const isMine = (room) => room.status === 'active' && room.agent?.id === state.me?.id;
export const selectedRoom = () => state.rooms.get(state.selectedId) ?? null;

/** Takes in a room as the gateway shows it. Says what that meant: "offered", "gained", "lost", "closed" or null. */
export function applyRoom(room) {
  const before = state.rooms.get(room.id);
  const wasHere = before !== undefined && (isOfferedToMe(before) || isMine(before));
  if (isOfferedToMe(room) || isMine(room)) {
    state.rooms.set(room.id, room);
    state.closedIds = state.closedIds.filter((id) => id !== room.id);
    changed();
    if (isOfferedToMe(room)) return before && isOfferedToMe(before) && before.offer.expires_at === room.offer.expires_at ? null : 'offered';
    return before && isMine(before) ? null : 'gained';
  }
  const heldByMe = before !== undefined && (isMine(before) || state.closedIds.includes(room.id));
  if (room.status === 'closed' && (heldByMe || (wasHere && room.agent?.id === state.me?.id))) {
    state.rooms.set(room.id, room);
    if (!state.closedIds.includes(room.id)) state.closedIds.unshift(room.id);
    changed();
    return isMine(before) ? 'closed' : null;
  }
  // Somebody else's now. It stays only while it is being looked at, so that the screen does not vanish under the reader.
  if (before) {
    if (state.selectedId === room.id) state.rooms.set(room.id, room);
    else forget(room.id);
    changed();
  }
  return wasHere ? 'lost' : null;
}

function forget(roomId) {
  state.rooms.delete(roomId);
  state.threads.delete(roomId);
}

export function select(roomId) {
  const left = selectedRoom();
  state.selectedId = roomId;
  if (left && left.id !== roomId && !isOfferedToMe(left) && !isMine(left) && !state.closedIds.includes(left.id)) forget(left.id);
  if (roomId && !thread(roomId).loaded) loadNewest(roomId).catch(() => {});
  changed();
}

export function applyContact(contact) {
  for (const room of state.rooms.values()) {
    if (room.contact?.id === contact.id) state.rooms.set(room.id, { ...room, contact: { ...room.contact, ...contact } });
  }
  changed();
}

/** The time left to answer: "open", "human_agent", "closed", and until when. Web chat has no window. */
export function windowOf(room) {
  const window = room.window;
  if (!window) return { mode: 'open', until: null };
  const now = serverNow();
  if (window.open_until && Date.parse(window.open_until) > now) return { mode: 'open', until: window.open_until };
  if (window.mode !== 'closed' && window.human_agent_until && Date.parse(window.human_agent_until) > now) return { mode: 'human_agent', until: window.human_agent_until };
  return { mode: 'closed', until: null };
}

// ---- Messages -----------------------------------------------------------------------------------------------

export function thread(roomId) {
  if (!state.threads.has(roomId)) state.threads.set(roomId, { byId: new Map(), sorted: [], hasOlder: false, loading: false, loaded: false });
  return state.threads.get(roomId);
}

export const messagesOf = (roomId) => state.threads.get(roomId)?.sorted ?? [];
export const lastSeqOf = (roomId) => messagesOf(roomId).at(-1)?.seq ?? 0;

export function applyMessage(message) {
  const known = thread(message.room_id);
  // A message from before the loaded part comes with its page; alone it would leave a hole.
  const oldest = known.sorted[0];
  if (!known.byId.has(message.id) && oldest && message.seq < oldest.seq && known.hasOlder) return;
  known.byId.set(message.id, message);
  sort(known);

  const room = state.rooms.get(message.room_id);
  if (room && message.seq > room.last_seq) {
    const unread = message.direction === 'inbound' ? (room.unread ?? 0) + 1 : message.direction === 'outbound' && message.author?.id === state.me?.id ? 0 : room.unread;
    state.rooms.set(room.id, { ...room, last_seq: message.seq, unread });
  }
  if (message.direction === 'inbound') state.typingUntil.delete(message.room_id);
  changed();
}

function sort(known) {
  known.sorted = [...known.byId.values()].sort((one, other) => one.seq - other.seq);
}

async function loadPage(roomId, before) {
  const page = await get(`/rooms/${roomId}/messages?before=${before}&limit=${PAGE}`);
  return page?.items ?? [];
}

export async function loadNewest(roomId) {
  const known = thread(roomId);
  const room = state.rooms.get(roomId);
  const items = await loadPage(roomId, Math.max(room?.last_seq ?? 0, lastSeqOf(roomId)) + 1);
  const oldestNew = items.length > 0 ? Math.min(...items.map((it) => it.seq)) : 0;
  const isGap = known.loaded && items.length > 0 && oldestNew > lastSeqOf(roomId) + 1;
  if (isGap) known.byId.clear();
  for (const message of items) known.byId.set(message.id, message);
  sort(known);
  if (!known.loaded || isGap) known.hasOlder = items.length === PAGE && oldestNew > 1;
  known.loaded = true;
  changed();
}

export async function loadOlder(roomId) {
  const known = thread(roomId);
  const oldest = known.sorted[0];
  if (!known.hasOlder || known.loading || !oldest) return;
  known.loading = true;
  changed();
  try {
    const items = await loadPage(roomId, oldest.seq);
    for (const message of items) known.byId.set(message.id, message);
    sort(known);
    known.hasOlder = items.length === PAGE;
  } finally {
    known.loading = false;
    changed();
  }
}

/** When the contact began to wait: the first inbound message after the last reply. */
export function waitingSince(roomId) {
  let since = null;
  for (const message of messagesOf(roomId).toReversed()) {
    if (message.direction === 'outbound' && message.status !== 'failed' && message.author?.kind !== 'system' && message.author?.kind !== 'bot') break;
    if (message.direction === 'inbound') since = message.created_at;
  }
  return since;
}

// ---- Everything again ---------------------------------------------------------------------------------------

// Events that arrive while the rooms are being read wait here: the answer may be older or newer than they are, and
// applying them afterwards ends in the newest state either way.
let buffered = null;

export function bufferOr(event, apply) {
  if (buffered) buffered.push(event);
  else apply(event);
}

/** Reads my rooms anew, after the first connection and after every gap. Returns the newly offered ones. */
export async function reload(apply) {
  buffered ??= [];
  const offered = [];
  try {
    const current = await getAll('/me/rooms');
    state.notAnAgent = false;
    const listed = new Set(current.map((room) => room.id));
    const missing = [...state.rooms.values()].filter((room) => !listed.has(room.id) && (isMine(room) || isOfferedToMe(room)));
    for (const room of current) if (applyRoom(room) === 'offered') offered.push(room);
    await Promise.all(missing.map(async (room) => {
      try {
        applyRoom(await get(`/rooms/${room.id}`));
      } catch {
        forget(room.id); // no longer mine to see
      }
    }));
    await Promise.all(current.map((room) => loadNewest(room.id).catch(() => {})));
  } catch (problem) {
    if (problem.status === 403) state.notAnAgent = true;
    else if (problem.status !== 401) throw problem;
  } finally {
    const waiting = buffered ?? [];
    buffered = null;
    for (const event of waiting) apply(event);
    changed();
  }
  return offered;
}
