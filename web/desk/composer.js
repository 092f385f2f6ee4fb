// Writing to the contact. Replies of one room leave one after the other, each with its own Idempotency-Key, so a
// lost answer can be asked for again without sending twice.

import { newKey, post, Unreachable } from './api.js';
import { announce, toast } from './alerts.js';
import { summary } from './content.js';
import { byId, el, setText, shortTime, showError, timeNode } from './dom.js';
import { applyMessage, applyRoom, isMine, isOfferedToMe, lastSeqOf, loadNewest, messagesOf, selectedRoom, state, thread, windowOf } from './state.js';
import { offerButtons } from './rooms.js';
import { toBottom } from './transcript.js';

const TYPING_EVERY_MS = 5000;
const TYPING_PAUSE_MS = 8000;
const MESSAGE_UNITS = 2000; // Messenger's limit; the gateway splits what is longer

const outgoing = new Map(); // room id → [{key, path, body, state: "sending"|"stuck"|"held", …}], in order
const inFlight = new Set();
let shownRoom = null;
let isNote = false;
let typing = { room: null, lastAt: 0, timer: null };

const field = () => byId('composer');
const draftKey = (roomId) => `desk.draft.${state.me?.id}.${roomId}`;

export function bindComposer() {
  byId('composer-form').addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  field().addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  field().addEventListener('input', () => {
    saveDraft();
    fit();
    noteTyping();
    showError(byId('composer-error'), null);
    drawComposer();
  });
  byId('ask-email').addEventListener('click', () => ask('email'));
  byId('ask-phone').addEventListener('click', () => ask('phone'));
  byId('note-toggle').addEventListener('click', () => {
    isNote = !isNote;
    stopTyping();
    drawComposer();
    field().focus();
  });
}

export function forgetDrafts() {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith('desk.draft.')) sessionStorage.removeItem(key);
  outgoing.clear();
  shownRoom = null;
  isNote = false;
  field().value = '';
}

export const focusComposer = () => { if (!field().disabled) field().focus(); };

// ---- What may be written now --------------------------------------------------------------------------------

/** `reason` forbids; `hint` only explains. A note may be written where a reply may not. */
function permission(room) {
  if (room.status === 'closed') return { reason: 'This chat is closed. The contact’s next message opens a new one.' };
  if (isOfferedToMe(room)) return { reason: 'Accept the chat to answer.' };
  if (!isMine(room)) return { reason: room.agent ? `This chat is with ${room.agent.name} now.` : 'This chat is no longer yours.' };
  if (isNote) return { hint: 'Notes stay inside; the contact never sees them.' };
  const window = windowOf(room);
  if (window.mode === 'closed') return { reason: 'The messaging window is closed. You can answer again as soon as the contact writes.', mayNote: true };
  if (window.mode === 'human_agent') return { hint: `More than 24 hours have passed; this goes out as a person’s late answer, possible until ${shortTime(window.until)}.` };
  return {};
}

export function drawComposer() {
  const room = selectedRoom();
  if (!room) {
    leaveRoom();
    return;
  }
  if (shownRoom !== room.id) enterRoom(room);
  const { reason, hint, mayNote } = permission(room);
  const queue = outgoing.get(room.id) ?? [];
  const isBlocked = queue.some((it) => it.state !== 'sending');

  const form = byId('composer-form');
  form.classList.toggle('is-note', isNote);
  form.classList.toggle('is-off', Boolean(reason));
  field().disabled = Boolean(reason);
  byId('send').disabled = Boolean(reason) || isBlocked || field().value.trim() === '';
  for (const id of ['ask-email', 'ask-phone']) byId(id).disabled = Boolean(reason) || isBlocked || isNote;
  byId('note-toggle').disabled = Boolean(reason) && !mayNote;
  byId('note-toggle').setAttribute('aria-pressed', String(isNote));
  setText(byId('send'), isNote ? 'Save note' : 'Send');
  setText(byId('composer-label'), isNote ? 'Note' : 'Reply');
  field().placeholder = reason ? '' : isNote ? 'Write an internal note' : `Reply to ${room.contact?.first_name || room.contact?.name || 'the contact'}`;
  const isLong = !isNote && field().value.length > MESSAGE_UNITS;
  setText(byId('composer-help'), isLong ? `${field().value.length} characters: goes out as several messages` : 'Enter sends, Shift+Enter makes a new line');
  showError(byId('composer-reason'), reason ?? hint);
  byId('composer-reason').classList.toggle('is-hint', !reason);

  drawOfferBar(room);
  drawPending(queue, room);
  drawHeld(queue, room);
}

function drawOfferBar(room) {
  const bar = byId('offer-bar');
  const isOffered = isOfferedToMe(room);
  bar.hidden = !isOffered;
  if (!isOffered) {
    bar.replaceChildren();
    bar.room = null;
  } else if (bar.room !== room) {
    bar.room = room;
    bar.replaceChildren(
      el('span', {}, 'Offered to you, ', el('span', { 'data-expires': Date.parse(room.offer.expires_at) }), ' left'),
      offerButtons(room, room.contact?.name || 'this contact', false));
  }
}

function enterRoom(room) {
  leaveRoom();
  shownRoom = room.id;
  isNote = false;
  field().value = sessionStorage.getItem(draftKey(room.id)) ?? '';
  showError(byId('composer-error'), null);
  fit();
}

function leaveRoom() {
  stopTyping();
  shownRoom = null;
}

function saveDraft() {
  if (!shownRoom) return;
  if (field().value === '') sessionStorage.removeItem(draftKey(shownRoom));
  else sessionStorage.setItem(draftKey(shownRoom), field().value);
}

function fit() {
  const box = field();
  box.style.height = 'auto';
  box.style.height = `${Math.min(box.scrollHeight + 2, 180)}px`;
}

// ---- Sending ------------------------------------------------------------------------------------------------

function submit() {
  const room = selectedRoom();
  const text = field().value.trim();
  if (!room || byId('send').disabled || text === '') return;
  if (isNote) enqueue(room.id, `/rooms/${room.id}/notes`, { text }, text);
  else enqueue(room.id, `/rooms/${room.id}/messages`, { content: { kind: 'text', text }, seen_seq: lastSeqOf(room.id) }, text);
  field().value = '';
  isNote = false;
  saveDraft();
  fit();
  stopTyping(false); // the message itself ends the indicator
  drawComposer();
  toBottom();
}

function ask(which) {
  const room = selectedRoom();
  if (!room) return;
  enqueue(room.id, `/rooms/${room.id}/messages`, { content: { kind: 'request_field', field: which }, seen_seq: lastSeqOf(room.id) }, null);
  drawComposer();
  toBottom();
  field().focus();
}

function enqueue(roomId, path, body, text) {
  if (!outgoing.has(roomId)) outgoing.set(roomId, []);
  outgoing.get(roomId).push({ key: newKey(), path, body, text, state: 'sending' });
  work(roomId);
}

async function work(roomId) {
  const queue = outgoing.get(roomId) ?? [];
  const head = queue[0];
  if (!head || head.state !== 'sending' || inFlight.has(roomId)) return;
  inFlight.add(roomId);
  try {
    const message = await post(head.path, head.body, { headers: { 'idempotency-key': head.key } });
    queue.shift();
    if (message?.id) applyMessage(message);
  } catch (problem) {
    await refused(roomId, queue, head, problem);
  } finally {
    inFlight.delete(roomId);
    drawComposer();
    work(roomId);
  }
}

async function refused(roomId, queue, head, problem) {
  if (problem.status === 409 && problem.slug === 'newer-messages') {
    const told = problem.body.messages ?? problem.body.newer_messages ?? problem.body.newer;
    if (Array.isArray(told)) for (const message of told) if (message?.id) applyMessage({ room_id: roomId, ...message });
    await loadNewest(roomId).catch(() => {});
    head.state = 'held';
    announce('Your reply was held back because newer messages came in.');
    return;
  }
  if (problem instanceof Unreachable || problem.status >= 500 || problem.status === 429 || problem.status === 401) {
    head.state = 'stuck';
    head.reason = problem.message;
    return;
  }
  // Refused for good: the text goes back to the writer, with everything that waited behind it.
  const texts = queue.splice(0).map((it) => it.text).filter(Boolean);
  giveBack(roomId, texts);
  const sentence = problem.errors.length > 0 ? problem.errors.map((it) => it.detail).join(' ') : problem.message;
  if (shownRoom === roomId) showError(byId('composer-error'), sentence);
  else toast(`${state.rooms.get(roomId)?.contact?.name ?? 'A chat'}: ${sentence}`, 'bad');
}

function giveBack(roomId, texts) {
  if (texts.length === 0) return;
  const present = shownRoom === roomId ? field().value : sessionStorage.getItem(draftKey(roomId)) ?? '';
  const draft = [...texts, present].filter(Boolean).join('\n');
  sessionStorage.setItem(draftKey(roomId), draft);
  if (shownRoom === roomId) {
    field().value = draft;
    fit();
  }
}

function drawPending(queue, room) {
  // The stream is often quicker than the answer to the request; then the message is already above.
  const arrived = messagesOf(room.id).slice(-5).filter((it) => it.author?.id === state.me?.id).map((it) => it.content?.text);
  const nodes = queue
    .filter((it) => it.state !== 'held' && !(it.state === 'sending' && it.text !== null && arrived.includes(it.text) && it === queue[0]))
    .map((it) => el('article', { class: `message ${it.path.endsWith('/notes') ? 'note' : 'outbound'} is-pending`, 'data-testid': 'pending', 'data-state': it.state },
      el('div', { class: 'bubble-row' }, el('div', { class: 'bubble' }, el('p', { class: 'text' }, it.text ?? summary(it.body.content)))),
      it.state === 'sending' ? el('p', { class: 'meta' }, 'Sending…') : el('div', { class: 'trouble bad' },
        el('span', {}, `Not sent. ${it.reason}`),
        el('button', { type: 'button', class: 'small', 'data-testid': 'retry', onclick: () => { it.state = 'sending'; drawComposer(); work(room.id); } }, 'Try again'),
        el('button', { type: 'button', class: 'small quiet', 'data-testid': 'discard', onclick: () => { queue.splice(queue.indexOf(it), 1); drawComposer(); work(room.id); } }, 'Discard'))));
  byId('pending').replaceChildren(...nodes);
}

function drawHeld(queue, room) {
  const box = byId('held');
  const head = queue[0]?.state === 'held' ? queue[0] : null;
  const wasHidden = box.hidden;
  box.hidden = !head;
  if (!head) {
    box.replaceChildren();
    box.shown = null;
    return;
  }
  const newer = messagesOf(room.id).filter((it) => it.seq > head.body.seen_seq && it.author?.id !== state.me?.id);
  const drawn = newer.map((it) => it.id).join();
  if (!wasHidden && box.shown === head.key + drawn) return;
  box.shown = head.key + drawn;
  const again = el('button', { type: 'button', class: 'primary small', 'data-testid': 'send-anyway', onclick: () => sendAnyway(room.id, head) }, 'Send anyway');
  box.replaceChildren(
    el('strong', {}, 'Something new came in while you were writing'),
    el('ul', {}, newer.map((it) => el('li', {}, timeNode(it.created_at), ' ', el('b', {}, it.author?.name ?? ''), ': ', summary(it.content)))),
    el('p', { class: 'held-text' }, el('span', { class: 'muted' }, 'Your reply: '), head.text ?? summary(head.body.content)),
    el('div', { class: 'row' }, again,
      el('button', { type: 'button', class: 'small', 'data-testid': 'held-edit', onclick: () => editHeld(room.id, queue) }, 'Edit')));
  again.focus();
}

function sendAnyway(roomId, head) {
  // Another body needs another key; the first request was refused, so nothing can go out twice.
  head.key = newKey();
  head.body = { ...head.body, seen_seq: lastSeqOf(roomId) };
  head.state = 'sending';
  drawComposer();
  work(roomId);
  field().focus();
}

function editHeld(roomId, queue) {
  giveBack(roomId, queue.splice(0).map((it) => it.text).filter(Boolean));
  drawComposer();
  field().focus();
}

// ---- Typing and seen ----------------------------------------------------------------------------------------

function noteTyping() {
  if (isNote || !shownRoom || field().value === '') return stopTyping();
  clearTimeout(typing.timer);
  typing.timer = setTimeout(() => stopTyping(), TYPING_PAUSE_MS);
  if (typing.room === shownRoom && Date.now() - typing.lastAt < TYPING_EVERY_MS) return;
  typing = { ...typing, room: shownRoom, lastAt: Date.now() };
  post(`/rooms/${shownRoom}/typing`, { on: true }).catch(() => {});
}

function stopTyping(tell = true) {
  clearTimeout(typing.timer);
  if (typing.room && tell) post(`/rooms/${typing.room}/typing`, { on: false }).catch(() => {});
  typing = { room: null, lastAt: 0, timer: null };
}

const seenUpTo = new Map();

/** Tells the contact that their messages were read, once per newest message, while the room is really in front. */
export function noteSeen() {
  const room = selectedRoom();
  if (!room || !isMine(room) || !(room.unread > 0) || !thread(room.id).loaded) return;
  if (!document.hasFocus() || byId('chat').offsetParent === null) return;
  if (seenUpTo.get(room.id) === room.last_seq) return;
  seenUpTo.set(room.id, room.last_seq);
  post(`/rooms/${room.id}/seen`)
    .then(() => {
      const now = state.rooms.get(room.id);
      if (now?.last_seq === room.last_seq) applyRoom({ ...now, unread: 0 });
    })
    .catch(() => seenUpTo.delete(room.id));
}
