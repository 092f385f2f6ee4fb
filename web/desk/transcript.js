// The middle: the messages of the chosen room, and where the reader is in them.

import { byId, dayOf, el, setText, timeNode } from './dom.js';
import { contentNodes, summary } from './content.js';
import { loadOlder, messagesOf, selectedRoom, state, thread } from './state.js';

const BOTTOM_PX = 60;
const OLDER_PX = 80;

let shownRoom = null;
let follows = true; // the reader is at the end and wants to stay there
let lastTop = 0;

export function bindTranscript() {
  const pane = byId('transcript');
  byId('older').addEventListener('click', older);
  byId('newest').addEventListener('click', () => {
    toBottom();
    pane.focus({ preventScroll: true });
  });
  pane.addEventListener('scroll', () => {
    // Only moving up leaves the end: a picture that arrives late also opens a distance, without anybody scrolling.
    if (isAtBottom()) follows = true;
    else if (pane.scrollTop < lastTop - 1) follows = false;
    lastTop = pane.scrollTop;
    if (follows) byId('newest').hidden = true;
    if (pane.scrollTop < OLDER_PX && !follows && shownRoom) older();
  }, { passive: true });
  const grown = new ResizeObserver(() => { if (follows) toBottom(); });
  for (const node of [pane, byId('messages'), byId('pending')]) grown.observe(node);
}

const isAtBottom = () => {
  const pane = byId('transcript');
  return pane.scrollHeight - pane.scrollTop - pane.clientHeight < BOTTOM_PX;
};

export function toBottom() {
  const pane = byId('transcript');
  follows = true;
  pane.scrollTop = pane.scrollHeight;
  lastTop = pane.scrollTop;
  byId('newest').hidden = true;
}

function older() {
  if (shownRoom) loadOlder(shownRoom).catch(() => {});
}

export function drawTranscript() {
  const room = selectedRoom();
  byId('chat-empty').hidden = Boolean(room);
  byId('chat-body').hidden = !room;
  if (!room) {
    shownRoom = null;
    return;
  }
  setText(byId('chat-name'), room.contact?.name || 'Unknown contact');
  setText(byId('chat-sub'), [room.widget?.name, room.queue?.name, statusText(room)].filter(Boolean).join(' · '));

  const isNewRoom = shownRoom !== room.id;
  const stick = isNewRoom || follows;
  shownRoom = room.id;
  const pane = byId('transcript');
  const list = byId('messages');
  const anchor = list.querySelector('[data-id]');
  const anchorTop = anchor?.getBoundingClientRect().top;
  const lastBefore = isNewRoom ? null : list.lastElementChild?.dataset.id;

  if (isNewRoom) list.replaceChildren();
  drawMessages(list, messagesOf(room.id), room);
  const known = thread(room.id);
  byId('older').hidden = !known.hasOlder;
  setText(byId('older'), known.loading ? 'Loading…' : 'Show earlier messages');

  const isTyping = (state.typingUntil.get(room.id) ?? 0) > Date.now();
  byId('typing').hidden = !isTyping;
  setText(byId('typing'), isTyping ? `${room.contact?.first_name || room.contact?.name || 'The contact'} is typing…` : '');

  if (stick) toBottom();
  else {
    if (anchor?.isConnected) pane.scrollTop += anchor.getBoundingClientRect().top - anchorTop;
    if (lastBefore && list.lastElementChild?.dataset.id !== lastBefore) byId('newest').hidden = false;
  }
}

const CLOSE_REASONS = { agent: 'closed by the agent', supervisor: 'closed by a supervisor', inactive: 'closed, nobody wrote', offline: 'closed, outside hours', no_route: 'closed, no queue', contact_gone: 'closed, the contact cannot be reached', erased: 'erased' };

function statusText(room) {
  if (room.status === 'closed') return CLOSE_REASONS[room.close_reason] ?? 'closed';
  if (room.status === 'offered') return 'offered';
  if (room.status === 'waiting') return 'waiting';
  return '';
}

function drawMessages(list, messages, room) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const byMessageId = thread(room.id).byId;
  const nodes = [];
  let previous = null;
  for (const message of messages) {
    const day = new Date(message.created_at).toDateString();
    if (!previous || new Date(previous.created_at).toDateString() !== day) {
      const key = `day ${day}`;
      nodes.push(old.get(key) ?? keyed(key, el('p', { class: 'day' }, el('span', {}, dayOf(message.created_at)))));
      previous = null;
    }
    const quoted = message.reply_to ? byMessageId.get(message.reply_to) ?? 'unknown' : null;
    const isFirst = !previous || previous.direction !== message.direction || previous.author?.name !== message.author?.name;
    const present = old.get(message.id);
    const isSame = present && present.message === message && present.quoted === quoted && present.isFirst === isFirst;
    const node = isSame ? present : keyed(message.id, messageNode(message, quoted, isFirst));
    Object.assign(node, { message, quoted, isFirst });
    nodes.push(node);
    previous = message;
  }
  nodes.forEach((node, index) => {
    const there = list.children[index];
    if (there !== node) list.insertBefore(node, there ?? null);
  });
  while (list.children.length > nodes.length) list.lastElementChild.remove();
}

function keyed(key, node) {
  node.dataset.key = key;
  return node;
}

function messageNode(message, quoted, isFirst) {
  const { direction } = message;
  const attributes = { 'data-testid': 'message', 'data-id': message.id, 'data-kind': message.content?.kind, 'data-direction': direction, 'data-status': message.status };
  if (direction === 'system') {
    return el('p', { class: 'system-line', ...attributes }, el('span', { class: 'text' }, summary(message.content)), ' ', timeNode(message.created_at));
  }
  const isMine = message.author?.id && message.author.id === state.me?.id;
  const author = direction === 'note' ? `Note · ${isMine ? 'You' : message.author?.name ?? ''}` : authorName(message, isMine);
  return el('article', { class: `message ${direction} ${isFirst ? 'first' : ''}`, ...attributes },
    isFirst || direction === 'note' ? el('p', { class: 'author' }, author) : el('p', { class: 'hidden-text' }, author),
    el('div', { class: 'bubble-row' },
      el('div', { class: `bubble kind-${message.content?.kind}` },
        quoted ? quote(quoted) : null,
        message.status === 'unsent' ? el('p', { class: 'kind' }, 'This message was withdrawn.') : contentNodes(message.content))),
    message.reactions?.length ? el('p', { class: 'reactions' }, message.reactions.map((it) => el('span', { title: `${it.by === 'contact' ? 'The contact' : it.by} reacted` }, it.emoji))) : null,
    el('p', { class: 'meta' }, timeNode(message.created_at), message.edited_at ? el('span', {}, 'edited') : null, statusMark(message)),
    message.status === 'failed' || message.status === 'uncertain' ? trouble(message) : null);
}

function authorName(message, isMine) {
  const { kind, name } = message.author ?? {};
  if (isMine) return 'You';
  if (kind === 'bot') return `${name || 'Bot'} (bot)`;
  if (kind === 'page') return `${name || 'Page'} (outside the desk)`;
  if (kind === 'system') return name || 'Automatic';
  return name || (kind === 'contact' ? 'Contact' : 'Agent');
}

function quote(quoted) {
  if (quoted === 'unknown') return el('blockquote', { class: 'quote' }, 'An earlier message');
  return el('blockquote', { class: 'quote' }, el('span', { class: 'quote-author' }, quoted.author?.name ?? ''), el('span', {}, summary(quoted.content)));
}

const MARKS = {
  queued: ['◷', 'Queued'], sent: ['✓', 'Sent'], delivered: ['✓✓', 'Delivered'], read: ['✓✓', 'Read'],
  failed: ['!', 'Not delivered'], uncertain: ['?', 'Perhaps delivered'],
};

function statusMark(message) {
  if (message.direction !== 'outbound' || !MARKS[message.status]) return null;
  const [sign, words] = MARKS[message.status];
  return el('span', { class: `mark mark-${message.status}`, title: words },
    el('span', { 'aria-hidden': 'true' }, sign), el('span', { class: message.status === 'read' || message.status === 'queued' ? '' : 'hidden-text' }, words));
}

function trouble(message) {
  if (message.status === 'uncertain') {
    return el('p', { class: 'trouble warn' }, `Nobody knows whether this arrived${message.error?.detail ? `: ${message.error.detail}` : '.'} Ask before you send it again.`);
  }
  const code = message.error?.meta_code ? ` (${[message.error.meta_code, message.error.meta_subcode].filter(Boolean).join('/')})` : '';
  return el('p', { class: 'trouble bad' }, `Not delivered${message.error?.detail ? `: ${message.error.detail}` : '.'}${code}`);
}
