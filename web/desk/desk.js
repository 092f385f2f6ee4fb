// Chatgate's desk: one page, no framework, no build. This file wires the parts together.
//
//   login → api (cookie) → state ← stream (events)
//                            ↓ changed()
//            header · rooms · transcript · composer · details
//
// Deliberately absent: a router, a store library, anything loaded from elsewhere.

import { del, get, put, whenLoggedOut } from './api.js';
import { announce, bindSound, ring, toast, updateTitle } from './alerts.js';
import { bindComposer, drawComposer, focusComposer, forgetDrafts, noteSeen } from './composer.js';
import { summary } from './content.js';
import { bindDetails, drawDetails, loadQueues } from './details.js';
import { byId, setText } from './dom.js';
import { bindLogin, hideLogin, showLogin } from './login.js';
import { bindRooms, drawRooms, heldCount, offeredCount, tick, unreadCount } from './rooms.js';
import { applyContact, applyMessage, applyRoom, bufferOr, changed, isMine, loadNewest, reload, reset, select, selectedRoom, setMe, setStatus, state, subscribe, windowOf } from './state.js';
import { follow } from './stream.js';
import { bindTranscript, drawTranscript } from './transcript.js';

const TYPING_SHOWN_MS = 8000;
const SELECTED = 'desk.selected';

let stopStream = null;

bindLogin(start);
bindRooms({ onEvent: apply, onSelect: openRoom });
bindTranscript();
bindComposer();
bindDetails();
bindSound();
bindHeader();
bindPanes();
subscribe(draw);
whenLoggedOut(() => end('Your session has ended. Please log in again.'));
addEventListener('focus', changed);
document.addEventListener('visibilitychange', changed);
setInterval(() => { if (state.me) changed(); }, 15_000); // windows run out and typing ends without any event
start({ isFirst: true });

// ---- Session ------------------------------------------------------------------------------------------------

async function start({ isFirst = false } = {}) {
  let me;
  try {
    me = await get('/me', { quiet401: true });
  } catch (problem) {
    if (isFirst) return showLogin(problem.status === 401 ? null : problem.message);
    throw problem.status === 401 ? new Error('The browser did not keep the session. Cookies must be allowed for this page.') : problem;
  }
  stopStream?.();
  reset();
  setMe(me);
  hideLogin();
  byId('desk').hidden = false;
  showPane('list');
  await loadQueues();
  stopStream = follow({
    onOpen: refresh,
    onEvent: (event) => bufferOr(event, apply),
    onState: (streamState) => {
      state.stream = streamState;
      changed();
    },
    mayRetry,
  });
  changed();
}

function end(reason) {
  if (!state.me) return;
  stopStream?.();
  stopStream = null;
  reset();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  updateTitle(0, 0);
  draw();
  showLogin(reason);
}

/** After the first connection and after every gap: who am I, what is mine. */
async function refresh() {
  try {
    const mine = state.me?.id;
    const me = await get('/me');
    const user = me.user ?? me;
    // Another login in this browser has changed the cookie; two people must not share one screen.
    if (mine && user.id !== mine) return location.reload();
    setMe(me);
    const offered = await reload(apply);
    for (const room of offered) tellOffer(room);
    const remembered = sessionStorage.getItem(SELECTED);
    if (!state.selectedId && remembered && state.rooms.has(remembered)) select(remembered);
  } catch (problem) {
    if (problem.status !== 401) toast(`The chats could not be loaded: ${problem.message}`, 'bad');
  }
}

/** The stream was refused. Is it the session or the gateway? */
async function mayRetry() {
  try {
    await get('/me');
    return true;
  } catch {
    return false;
  }
}

// ---- Events -------------------------------------------------------------------------------------------------

function apply(event) {
  const { kind, data } = event;
  if (!data || !state.me) return;
  if (kind.startsWith('room.')) return applyRoomEvent(data);
  if (kind === 'message.created' || kind === 'message.updated') return applyMessageEvent(kind, { room_id: event.room_id, ...data });
  if (kind === 'contact.updated') return applyContact(data);
  if (kind === 'contact.typing') {
    if (!state.rooms.has(event.room_id)) return;
    state.typingUntil.set(event.room_id, data.on === false ? 0 : Date.now() + TYPING_SHOWN_MS);
    setTimeout(changed, TYPING_SHOWN_MS + 50);
    return changed();
  }
  if (kind === 'agent.status_changed' && (data.id ?? data.agent_id) === state.me.id) {
    if (data.status === 'offline' && state.status.status !== 'offline' && !isChangingStatus) toast('You were set offline.', 'warn');
    setStatus(data);
  }
}

function applyRoomEvent(room) {
  if (!room.id) return;
  const wasSelected = state.selectedId === room.id;
  const meaning = applyRoom(room);
  if (meaning === 'offered') tellOffer(room);
  if (meaning === 'lost' && !wasSelected) announce(`The chat with ${room.contact?.name ?? 'a contact'} is no longer yours.`);
  if (meaning === 'gained') announce(`You have the chat with ${room.contact?.name ?? 'a contact'}.`);
  if (meaning === 'offered' || meaning === 'gained') {
    loadNewest(room.id).catch(() => {});
  }
}

function applyMessageEvent(kind, message) {
  const room = state.rooms.get(message.room_id);
  if (!room) return; // a supervisor's stream carries the whole tenant
  const isStale = message.direction === 'inbound' && kind === 'message.created' && room.window && windowOf(room).mode !== 'open';
  applyMessage(message);
  // A new message opens the window again; the room says until when.
  if (isStale) get(`/rooms/${room.id}`).then(applyRoom).catch(() => {});
  if (kind === 'message.created' && message.direction === 'inbound' && isMine(room)) announce(`${message.author?.name ?? 'Contact'}: ${summary(message.content)}`);
}

function tellOffer(room) {
  announce(`Chat offered: ${room.contact?.name ?? 'a contact'}.`);
  ring();
}

// ---- Header and panes ---------------------------------------------------------------------------------------

let isChangingStatus = false;

function bindHeader() {
  for (const button of document.querySelectorAll('.status [data-status]')) {
    button.addEventListener('click', () => {
      if (button.dataset.status !== 'away') return changeStatus({ status: button.dataset.status });
      byId('away-reason').value = state.status.status === 'away' ? state.status.reason ?? '' : '';
      byId('away-dialog').showModal();
    });
  }
  byId('away-form').addEventListener('submit', () => {
    const reason = byId('away-reason').value.trim();
    changeStatus(reason ? { status: 'away', reason } : { status: 'away' });
  });
  byId('logout').addEventListener('click', async () => {
    try {
      await del('/sessions/current', { quiet401: true });
    } catch (problem) {
      if (problem.status !== 401) return toast(`Not logged out: ${problem.message}`, 'bad');
    }
    forgetDrafts();
    sessionStorage.removeItem(SELECTED);
    end(null);
  });
}

async function changeStatus(body) {
  isChangingStatus = true;
  try {
    const agent = await put('/me/status', body);
    setStatus(agent?.status ? agent : body);
  } catch (problem) {
    if (problem.status !== 401) toast(problem.message, 'bad');
  } finally {
    isChangingStatus = false;
  }
}

function bindPanes() {
  for (const button of document.querySelectorAll('[data-go]')) button.addEventListener('click', () => {
    showPane(button.dataset.go);
    if (button.dataset.go === 'list') document.querySelector('.list [aria-current]')?.focus();
    else byId('details-toggle').focus();
  });
  byId('details-toggle').addEventListener('click', () => showPane(byId('desk').dataset.pane === 'details' ? 'chat' : 'details'));
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || document.querySelector('dialog[open]')) return;
    if (byId('desk').dataset.pane === 'details') showPane('chat');
    else if (byId('desk').dataset.pane === 'chat') showPane('list');
  });
}

/** On narrow screens one pane is seen at a time; wide ones show all and ignore this. */
function showPane(pane) {
  byId('desk').dataset.pane = pane;
  byId('details-toggle').setAttribute('aria-expanded', String(pane === 'details'));
  changed();
}

function openRoom(roomId) {
  select(roomId);
  sessionStorage.setItem(SELECTED, roomId);
  showPane('chat');
  draw();
  if (isMine(selectedRoom() ?? {})) focusComposer();
}

// ---- Drawing ------------------------------------------------------------------------------------------------

const STREAM_WORDS = { live: 'Live', connecting: 'Connecting…', down: 'No connection' };

function draw() {
  const seats = state.me?.max_chats;
  setText(byId('me-name'), state.me?.name ?? '');
  setText(byId('me-seats'), seats ? `${heldCount()} of ${seats} chats` : '');
  for (const button of document.querySelectorAll('.status [data-status]')) {
    button.setAttribute('aria-pressed', String(button.dataset.status === state.status.status));
  }
  const { status, reason } = state.status;
  const away = document.querySelector('.status [data-status=away]');
  setText(away, status === 'away' && reason ? `Away: ${reason}` : 'Away');
  away.title = reason ?? '';
  const stream = byId('stream');
  stream.dataset.state = state.stream;
  setText(stream, STREAM_WORDS[state.stream]);
  stream.title = state.stream === 'live' ? 'News arrive at once' : 'News do not arrive at the moment';

  if (!selectedRoom() && byId('desk').dataset.pane !== 'list') byId('desk').dataset.pane = 'list';
  drawRooms();
  drawTranscript();
  drawComposer();
  drawDetails();
  tick();
  if (state.me) {
    updateTitle(unreadCount(), offeredCount());
    noteSeen();
  }
}
