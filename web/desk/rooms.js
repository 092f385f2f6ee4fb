// The left list: offers with their countdown, my chats, and those closed in this session.

import { get, post, serverNow } from './api.js';
import { toast } from './alerts.js';
import { summary } from './content.js';
import { avatar, byId, duration, el, setText } from './dom.js';
import { applyRoom, isMine, isOfferedToMe, loadNewest, messagesOf, reload, select, selectedRoom, state, waitingSince } from './state.js';

const busy = new Set();
let applyEvent = () => {};

export function bindRooms({ onEvent, onSelect }) {
  applyEvent = onEvent;
  openRoom = onSelect;
  setInterval(tick, 1000);
  document.addEventListener('keydown', (event) => {
    if (!event.altKey || (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') || byId('desk').hidden) return;
    event.preventDefault();
    const order = [...offers(), ...mine(), ...closed()];
    if (order.length === 0) return;
    const at = order.findIndex((room) => room.id === state.selectedId);
    const next = order.at((at + (event.key === 'ArrowDown' ? 1 : -1)) % order.length) ?? order[0];
    openRoom(next.id);
  });
}
let openRoom = select;

const offers = () => [...state.rooms.values()].filter(isOfferedToMe).sort((one, other) => one.offer.expires_at.localeCompare(other.offer.expires_at));
const mine = () => [...state.rooms.values()].filter(isMine).sort((one, other) => String(one.accepted_at).localeCompare(String(other.accepted_at)));
const closed = () => state.closedIds.map((id) => state.rooms.get(id)).filter(Boolean);

export const offeredCount = () => offers().length;
export const unreadCount = () => mine().reduce((sum, room) => sum + (room.unread ?? 0), 0);
export const heldCount = () => mine().length;

export function drawRooms() {
  drawSection('offered', offers(), offerItem);
  drawSection('active', mine(), activeItem);
  drawSection('closed', closed(), closedItem);
  byId('offered').hidden = offers().length === 0;
  byId('closed').hidden = closed().length === 0;
  const empty = byId('active-empty');
  empty.hidden = mine().length > 0;
  setText(empty, emptyText());
}

function emptyText() {
  if (state.notAnAgent) return 'You are not an agent, so no chats are given to you.';
  if (state.status.status === 'ready') return offers().length > 0 ? 'Nothing accepted yet.' : 'No chats yet. The next one will be offered to you here.';
  return 'Set yourself ready to be given chats.';
}

/** Redraws only the items that changed, and keeps the keyboard where it was. */
function drawSection(id, rooms, draw) {
  const list = byId(id).querySelector('ul');
  const focused = list.contains(document.activeElement) ? { room: document.activeElement.closest('li')?.dataset.roomId, testid: document.activeElement.dataset.testid } : null;
  const old = new Map([...list.children].map((item) => [item.dataset.roomId, item]));
  const items = rooms.map((room) => {
    const facts = { room, last: messagesOf(room.id).at(-1), since: isMine(room) ? waitingSince(room.id) : null, isSelected: room.id === state.selectedId, isBusy: busy.has(room.id), isTyping: (state.typingUntil.get(room.id) ?? 0) > Date.now() };
    const present = old.get(room.id);
    if (present && Object.keys(facts).every((key) => facts[key] === present.facts[key])) return present;
    const item = draw(facts);
    item.facts = facts;
    item.dataset.roomId = room.id;
    return item;
  });
  if (items.length !== list.children.length || items.some((item, index) => list.children[index] !== item)) list.replaceChildren(...items);
  if (focused && !list.contains(document.activeElement)) list.querySelector(`li[data-room-id="${CSS.escape(focused.room ?? '')}"] [data-testid="${focused.testid}"]`)?.focus();
}

function opener(facts, ...more) {
  const { room, last, isSelected, isTyping } = facts;
  const who = last?.direction === 'note' ? 'Note: ' : last?.direction === 'outbound' && last.author?.id === state.me?.id ? 'You: ' : '';
  const preview = isTyping ? 'is typing…' : last ? who + summary(last.content) : '';
  return el('button', { type: 'button', class: 'room', 'data-testid': 'room-open', 'aria-current': isSelected ? 'true' : null, onclick: () => openRoom(room.id) },
    avatar(room.contact),
    el('span', { class: 'room-main' },
      el('span', { class: 'room-name', dir: 'auto' }, room.contact?.name || 'Unknown contact'),
      el('span', { class: 'room-last', dir: 'auto' }, preview)),
    el('span', { class: 'room-side' }, ...more));
}

function offerItem(facts) {
  const { room, isBusy } = facts;
  const name = room.contact?.name || 'this contact';
  const expires = Date.parse(room.offer.expires_at);
  return el('li', { class: 'offer', 'data-testid': 'room-offered' },
    opener(facts, el('span', { class: 'countdown', 'data-testid': 'countdown', 'data-expires': expires })),
    el('p', { class: 'offer-from muted' }, [room.queue?.name, room.widget?.name].filter(Boolean).join(' · ')),
    el('progress', { class: 'offer-time', max: 100, value: 100, 'data-expires': expires, 'data-total': totalOf(room, expires), 'aria-hidden': 'true' }),
    offerButtons(room, name, isBusy));
}

const firstSeen = new Map();

/** How long the offer lasts, as far as the desk has seen it, so that redrawing does not refill the bar. */
function totalOf(room, expires) {
  const key = `${room.id} ${expires}`;
  if (!firstSeen.has(key)) firstSeen.set(key, Math.max(5000, expires - serverNow()));
  return firstSeen.get(key);
}

/** Accept and decline; also used above the composer. */
export function offerButtons(room, name, isBusy) {
  return el('div', { class: 'row' },
    el('button', { type: 'button', class: 'primary small', 'data-testid': 'accept', 'aria-label': `Accept ${name}`, disabled: isBusy, onclick: () => accept(room) }, 'Accept'),
    el('button', { type: 'button', class: 'small', 'data-testid': 'decline', 'aria-label': `Decline ${name}`, disabled: isBusy, onclick: () => decline(room) }, 'Decline'));
}

function activeItem(facts) {
  const { room, since } = facts;
  const item = el('li', { 'data-testid': 'room-active' }, opener(facts,
    since ? el('span', { class: 'waiting', title: 'Waiting for an answer', 'data-since': Date.parse(since) }) : null,
    room.unread > 0 ? el('span', { class: 'unread', 'data-testid': 'unread', 'aria-label': `${room.unread} unread` }, String(room.unread)) : null));
  // The widget's colour, set from here because the page allows no inline styles; only a plain colour is let in.
  if (/^#[0-9a-f]{3,8}$/i.test(room.widget?.color ?? '')) item.style.setProperty('--widget', room.widget.color);
  return item;
}

function closedItem(facts) {
  return el('li', { class: 'is-closed', 'data-testid': 'room-closed' }, opener(facts));
}

export function tick() {
  const now = serverNow();
  let isLapsed = false;
  for (const node of document.querySelectorAll('[data-expires]')) {
    const left = Number(node.dataset.expires) - now;
    if (node.tagName === 'PROGRESS') node.value = Math.max(0, Math.min(100, (100 * left) / Number(node.dataset.total)));
    else setText(node, left > 0 ? `${Math.ceil(left / 1000)} s` : 'lapsed');
    if (left < -3000) isLapsed = true;
  }
  for (const node of document.querySelectorAll('[data-since]')) {
    const waited = now - Number(node.dataset.since);
    setText(node, duration(waited));
    node.classList.toggle('late', waited > 120_000);
  }
  // The event that ends an offer should have come; when it did not, ask.
  if (isLapsed && Date.now() - lastAskedAt > 10_000) {
    lastAskedAt = Date.now();
    reload(applyEvent).catch(() => {});
  }
}
let lastAskedAt = 0;

async function accept(room) {
  await during(room, async () => {
    const answer = await post(`/rooms/${room.id}/accept`);
    applyRoom(answer?.id ? answer : await get(`/rooms/${room.id}`));
    openRoom(room.id);
    await loadNewest(room.id);
  });
}

async function decline(room) {
  await during(room, async () => {
    const answer = await post(`/rooms/${room.id}/decline`);
    if (answer?.id) applyRoom(answer);
    else await reload(applyEvent);
    if (selectedRoom()?.id === room.id) select(null);
  });
}

async function during(room, work) {
  if (busy.has(room.id)) return;
  busy.add(room.id);
  drawRooms();
  try {
    await work();
  } catch (problem) {
    if (problem.status === 409 || problem.status === 404 || problem.status === 403) {
      toast(problem.slug === 'offer-gone' ? `The offer of ${room.contact?.name ?? 'the chat'} has lapsed.` : problem.message, 'warn');
      await reload(applyEvent).catch(() => {});
    } else if (problem.status !== 401) {
      toast(problem.message, 'bad');
    }
  } finally {
    busy.delete(room.id);
    drawRooms();
  }
}
