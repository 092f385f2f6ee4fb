// Small tools for building the page: elements, times, addresses. Data only ever becomes text or a checked address.

export const byId = (id) => document.getElementById(id);

/** Makes an element. Keys beginning with "on" are listeners, `true`/`false` switch an attribute, the rest are attributes. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else node.setAttribute(key, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Writes only when something changed, so that screen readers and selections are not disturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function showError(node, text) {
  setText(node, text ?? '');
  node.hidden = !text;
}

/** An address that may be opened or loaded, or null. `javascript:` and friends end here. */
export function safeUrl(address, extraProtocols = []) {
  if (typeof address !== 'string' || address === '') return null;
  try {
    const url = new URL(address, location.origin);
    return ['http:', 'https:', ...extraProtocols].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

export function link(address, text, attributes = {}) {
  const href = safeUrl(address);
  if (!href) return el('span', attributes, text);
  return el('a', { ...attributes, href, target: '_blank', rel: 'noopener noreferrer' }, text);
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const shortDayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

export const fullTime = (at) => fullFormat.format(new Date(at));
export const dayOf = (at) => dayFormat.format(new Date(at));

export function timeNode(at, attributes = {}) {
  return el('time', { ...attributes, datetime: at, title: fullTime(at) }, clockFormat.format(new Date(at)));
}

export function shortTime(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clockFormat.format(date) : `${shortDayFormat.format(date)}, ${clockFormat.format(date)}`;
}

export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function initials(name) {
  const words = (name ?? '').trim().split(/\s+/).filter(Boolean);
  if (words.length === 0) return '?';
  const letters = words.length === 1 ? [words[0]] : [words[0], words.at(-1)];
  return letters.map((word) => Array.from(word)[0]).join('').toLocaleUpperCase();
}

/** The contact's picture, or initials when there is none or it cannot be loaded. */
export function avatar(contact, size = '') {
  const letters = () => el('span', { class: `avatar ${size}`, 'aria-hidden': 'true' }, initials(contact?.name));
  const src = safeUrl(contact?.picture_url);
  if (!src) return letters();
  const image = el('img', { class: `avatar ${size}`, src, alt: '', referrerpolicy: 'no-referrer' });
  image.addEventListener('error', () => image.replaceWith(letters()), { once: true });
  return image;
}

export async function copy(text) {
  // The clipboard interface is missing on plain http, where small installations live.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed: the old way below */ }
  }
  const field = el('textarea', { class: 'hidden-text' });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  return done;
}
