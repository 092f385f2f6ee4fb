// The right side: the contact, the facts of the room, tags, transfer, close.

import { get, patch, post, put } from './api.js';
import { toast } from './alerts.js';
import { avatar, byId, el, setText, shortTime, showError } from './dom.js';
import { applyContact, applyRoom, isMine, select, selectedRoom, state, windowOf } from './state.js';

const FIELDS = ['email', 'phone'];
const input = (name) => byId(`contact-${name}`);

let shownContact = null;
let shownPicture = null;
let shownTags = null;
let shownQueues = null;

export function bindDetails() {
  for (const name of FIELDS) input(name).addEventListener('input', drawContactActions);
  byId('contact-form').addEventListener('submit', saveContact);
  byId('contact-undo').addEventListener('click', () => {
    shownContact = null;
    drawDetails();
  });
  byId('tag-form').addEventListener('submit', addTag);
  byId('transfer-form').addEventListener('submit', transfer);
  byId('close-room').addEventListener('click', askToClose);
  byId('close-form').addEventListener('submit', close);
  for (const button of document.querySelectorAll('[data-cancel]')) button.addEventListener('click', () => button.closest('dialog').close());
}

/** Only admins and supervisors may list queues; for others there is no transfer. */
export async function loadQueues() {
  try {
    state.queues = (await get('/queues?limit=200'))?.items ?? null;
  } catch {
    state.queues = null;
  }
}

export function drawDetails() {
  const room = selectedRoom();
  byId('details-body').hidden = !room;
  if (!room) {
    shownContact = null;
    return;
  }
  drawContact(room);
  drawFacts(room);
  drawTags(room);
  drawTransfer(room);
  byId('close-block').hidden = !isMine(room);
}

// ---- Contact ------------------------------------------------------------------------------------------------

function drawContact(room) {
  const contact = room.contact ?? {};
  setText(byId('contact-name'), contact.name || 'Unknown contact');
  setText(byId('contact-from'), room.referral?.source ? `came from ${room.referral.source}` : room.widget?.channel === 'webchat' ? 'Web chat' : 'Messenger');
  const picture = `${contact.id} ${contact.picture_url} ${contact.name}`;
  if (shownPicture !== picture) {
    shownPicture = picture;
    byId('contact-picture').replaceChildren(avatar(contact, 'big'));
  }
  const isOther = shownContact?.id !== contact.id;
  for (const name of FIELDS) {
    const known = contact[name] ?? '';
    const box = input(name);
    // What the agent is typing is never overwritten by news; the next save decides.
    const isTouched = !isOther && box.value !== (shownContact?.[name] ?? '');
    if (!isTouched && box.value !== known) {
      box.value = known;
      if (!isOther && known) flash(box);
    }
    if (isOther) showError(byId(`contact-${name}-error`), null);
    box.disabled = !contact.id;
  }
  shownContact = contact;
  drawContactActions();
}

function flash(box) {
  box.classList.remove('fresh');
  void box.offsetWidth; // starts the animation anew
  box.classList.add('fresh');
}

const changedFields = () => FIELDS.filter((name) => input(name).value.trim() !== (shownContact?.[name] ?? ''));

function drawContactActions() {
  byId('contact-actions').hidden = changedFields().length === 0;
}

async function saveContact(event) {
  event.preventDefault();
  const contact = shownContact;
  const fields = changedFields();
  if (!contact?.id || fields.length === 0) return;
  for (const name of FIELDS) showError(byId(`contact-${name}-error`), null);
  const body = Object.fromEntries(fields.map((name) => [name, input(name).value.trim() || null]));
  try {
    const answer = await patch(`/contacts/${contact.id}`, body);
    if (shownContact?.id === contact.id) shownContact = { ...shownContact, ...Object.fromEntries(fields.map((name) => [name, input(name).value])) };
    applyContact({ id: contact.id, ...body, ...answer });
    toast('Contact saved.');
  } catch (problem) {
    let isShown = false;
    for (const name of fields) {
      const sentence = problem.at?.(`/${name}`);
      showError(byId(`contact-${name}-error`), sentence);
      isShown ||= Boolean(sentence);
    }
    if (!isShown && problem.status !== 401) showError(byId(`contact-${fields[0]}-error`), problem.message);
  }
}

// ---- Facts --------------------------------------------------------------------------------------------------

function drawFacts(room) {
  const window = windowOf(room);
  const facts = [
    ['Widget', room.widget?.name],
    ['Queue', room.queue?.name],
    ['Agent', room.agent?.name],
    ['Opened', room.opened_at ? shortTime(room.opened_at) : null],
    ['Reply window', room.status === 'closed' || !room.window ? null : window.mode === 'closed' ? 'closed' : `${window.mode === 'human_agent' ? 'late answers ' : 'open '}until ${shortTime(window.until)}`],
    ['Came with', room.referral ? room.referral.ref ?? room.referral.ad_id ?? null : null],
  ].filter(([, value]) => value);
  const drawn = JSON.stringify(facts);
  const list = byId('facts');
  if (list.drawn === drawn) return;
  list.drawn = drawn;
  list.replaceChildren(...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', { 'data-testid': `fact-${name.toLowerCase().replace(' ', '-')}` }, value)]));
}

// ---- Tags ---------------------------------------------------------------------------------------------------

function drawTags(room) {
  const mayEdit = isMine(room);
  byId('tag-form').hidden = !mayEdit;
  const drawn = JSON.stringify([room.id, room.tags, mayEdit]);
  if (shownTags === drawn) return;
  shownTags = drawn;
  showError(byId('tag-error'), null);
  byId('tags').replaceChildren(...(room.tags ?? []).map((tag) => el('li', { class: 'tag' }, tag,
    mayEdit ? el('button', { type: 'button', 'aria-label': `Remove the tag ${tag}`, onclick: () => saveTags(room.id, (state.rooms.get(room.id)?.tags ?? []).filter((it) => it !== tag)) }, '×') : null)));
  if (!mayEdit && !(room.tags?.length > 0)) byId('tags').replaceChildren(el('li', { class: 'muted' }, 'none'));
  // The offered tags are the administrator's; the desk learns them from use.
  const known = new Set([...state.rooms.values()].flatMap((it) => it.tags ?? []));
  byId('known-tags').replaceChildren(...[...known].sort().map((tag) => el('option', {}, tag)));
}

async function addTag(event) {
  event.preventDefault();
  const room = selectedRoom();
  const tag = byId('tag-input').value.trim();
  if (!room || tag === '') return;
  if (room.tags?.includes(tag) || (await saveTags(room.id, [...(room.tags ?? []), tag]))) byId('tag-input').value = '';
}

async function saveTags(roomId, tags) {
  showError(byId('tag-error'), null);
  try {
    const answer = await put(`/rooms/${roomId}/tags`, { tags });
    const room = state.rooms.get(roomId);
    if (answer?.id === roomId) applyRoom(answer);
    else if (room) applyRoom({ ...room, tags });
    return true;
  } catch (problem) {
    if (problem.status !== 401) showError(byId('tag-error'), problem.at?.('/tags') ?? problem.message);
    return false;
  }
}

// ---- Transfer -----------------------------------------------------------------------------------------------

function drawTransfer(room) {
  byId('transfer-form').hidden = !isMine(room) || !(state.queues?.length > 0);
  if (shownQueues === state.queues) return;
  shownQueues = state.queues;
  byId('transfer-queue').replaceChildren(...(state.queues ?? []).map((queue) => el('option', { value: queue.id }, queue.name)));
}

async function transfer(event) {
  event.preventDefault();
  const room = selectedRoom();
  if (!room) return;
  showError(byId('transfer-error'), null);
  const note = byId('transfer-note').value.trim();
  try {
    const answer = await post(`/rooms/${room.id}/transfer`, { queue_id: byId('transfer-queue').value, ...(note ? { note } : {}) });
    byId('transfer-note').value = '';
    toast('Chat handed over.');
    if (answer?.id) applyRoom(answer);
    else applyRoom(await get(`/rooms/${room.id}`).catch(() => ({ ...room, status: 'waiting', agent: null })));
    if (selectedRoom()?.id === room.id && !isMine(selectedRoom())) select(null);
  } catch (problem) {
    if (problem.status !== 401) showError(byId('transfer-error'), problem.at?.('/queue_id') ?? problem.message);
  }
}

// ---- Close --------------------------------------------------------------------------------------------------

function askToClose() {
  const room = selectedRoom();
  if (!room || !isMine(room)) return;
  const dialog = byId('close-dialog');
  dialog.roomId = room.id;
  byId('close-tags').value = (room.tags ?? []).join(', ');
  byId('close-note').value = '';
  clearCloseErrors();
  dialog.showModal();
  dialog.querySelector('[type=submit]').focus();
}

function clearCloseErrors() {
  for (const id of ['close-error', 'close-tags-error', 'close-note-error']) showError(byId(id), null);
}

async function close(event) {
  event.preventDefault();
  const dialog = byId('close-dialog');
  const button = dialog.querySelector('[type=submit]');
  const roomId = dialog.roomId;
  const tags = [...new Set(byId('close-tags').value.split(',').map((it) => it.trim()).filter(Boolean))];
  const note = byId('close-note').value.trim();
  clearCloseErrors();
  button.disabled = true;
  try {
    const answer = await post(`/rooms/${roomId}/close`, { tags, ...(note ? { note } : {}) });
    applyRoom(answer?.id ? answer : await get(`/rooms/${roomId}`));
    dialog.close();
  } catch (problem) {
    const aboutTags = problem.at?.('/tags') ?? (problem.status === 422 && problem.errors.length === 0 ? problem.message : null);
    const aboutNote = problem.at?.('/note');
    showError(byId('close-tags-error'), aboutTags);
    showError(byId('close-note-error'), aboutNote);
    if (aboutTags) byId('close-tags').focus();
    else if (aboutNote) byId('close-note').focus();
    else if (problem.status === 409 && problem.slug === 'room-closed') {
      dialog.close();
      get(`/rooms/${roomId}`).then(applyRoom).catch(() => {});
    } else showError(byId('close-error'), problem.message);
  } finally {
    button.disabled = false;
  }
}
