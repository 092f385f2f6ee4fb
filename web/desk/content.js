// Turns a message's content into elements, one function per kind. Everything goes in as text.

import { copy, el, link, safeUrl } from './dom.js';

const FIELD_NAMES = { email: 'e-mail address', phone: 'phone number' };
const fieldName = (field) => FIELD_NAMES[field] ?? field;

const KINDS = {
  text: (content) => [paragraph(content.text)],
  attachments: (content) => [content.text ? paragraph(content.text) : null, ...(content.attachments ?? []).map(attachment)],
  choice: (content) => [el('p', { class: 'choice', title: content.payload ? `Payload: ${content.payload}` : null }, el('span', { class: 'choice-label' }, content.via === 'postback' ? 'Pressed' : 'Chose'), content.text || content.payload || '')],
  shared_field: sharedField,
  request_field: (content) => [el('p', { class: 'kind' }, `Asked for the ${fieldName(content.field)}`), content.text ? paragraph(content.text) : null],
  quick_replies: (content) => [paragraph(content.text), chips((content.replies ?? []).map((it) => it.title))],
  buttons: (content) => [paragraph(content.text), buttonList(content.buttons)],
  carousel: (content) => [el('div', { class: 'carousel', tabindex: 0, role: 'group', 'aria-label': 'Cards' }, (content.elements ?? []).map(card))],
  unsupported: (content) => [el('p', { class: 'kind' }, `Sent something the desk cannot show${content.what ? ` (${content.what})` : ''}`)],
};

export function contentNodes(content) {
  const draw = KINDS[content?.kind] ?? ((other) => [el('p', { class: 'kind' }, `Content of kind “${other?.kind ?? 'unknown'}”`)]);
  return draw(content).filter(Boolean);
}

/** One line for lists, quotes and the screen reader. */
export function summary(content) {
  switch (content?.kind) {
    case 'attachments': {
      const names = (content.attachments ?? []).map((it) => it.name || it.title || ATTACHMENT_NAMES[it.type] || 'Attachment');
      return [content.text, names.join(', ')].filter(Boolean).join(' · ');
    }
    case 'shared_field': return `Shared ${fieldName(content.field)}: ${content.value}`;
    case 'request_field': return `Asked for the ${fieldName(content.field)}`;
    case 'carousel': return (content.elements ?? []).map((it) => it.title).join(', ') || 'Cards';
    case 'unsupported': return 'Unsupported message';
    default: return content?.text ?? content?.payload ?? '';
  }
}

function paragraph(text) {
  return el('p', { class: 'text', dir: 'auto' }, ...withLinks(text ?? ''));
}

/** Makes the web addresses in a text clickable; the rest stays text. */
function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, index) => {
    if (index % 2 === 0) return part;
    const address = part.replace(/[.,;:!?)\]]+$/, '');
    return el('span', {}, link(address, address), part.slice(address.length));
  });
}

const ATTACHMENT_NAMES = { image: 'Picture', video: 'Video', audio: 'Voice message', file: 'File', sticker: 'Sticker', location: 'Location', link: 'Link' };

function attachment(it) {
  const name = it.name || it.title || ATTACHMENT_NAMES[it.type] || 'Attachment';
  if (it.type === 'image' || it.type === 'sticker') return picture(it, name);
  if (it.type === 'location') {
    const place = Number.isFinite(it.lat) && Number.isFinite(it.long) ? `https://www.openstreetmap.org/?mlat=${it.lat}&mlon=${it.long}#map=16/${it.lat}/${it.long}` : it.url;
    return fileLine('location', place, it.title || 'Location', Number.isFinite(it.lat) ? `${it.lat}, ${it.long}` : '');
  }
  if (it.type === 'link') return fileLine('link', it.url, it.title || it.url || 'Link', it.title && it.url ? it.url : '');
  return fileLine(it.type ?? 'unknown', it.url, name, [it.mime, size(it.size)].filter(Boolean).join(' · '));
}

function picture(it, name) {
  const src = safeUrl(it.url, ['data:']);
  const instead = () => fileLine(it.type, it.url, name, 'no preview');
  if (!src || (src.startsWith('data:') && !src.startsWith('data:image/'))) return instead();
  const image = el('img', { class: it.type === 'sticker' ? 'sticker' : 'picture', src, alt: name, referrerpolicy: 'no-referrer' });
  const frame = safeUrl(it.url) ? link(it.url, image, { class: 'picture-link', title: `Open ${name}` }) : el('span', {}, image);
  image.addEventListener('error', () => frame.replaceWith(instead()), { once: true });
  return frame;
}

const ATTACHMENT_SIGNS = { image: '▦', sticker: '▦', video: '▶', audio: '♪', file: '▤', location: '⌖', link: '↗' };

function fileLine(type, address, name, more) {
  return link(address, el('span', { class: 'file' },
    el('span', { class: 'file-sign', 'aria-hidden': 'true' }, ATTACHMENT_SIGNS[type] ?? '?'),
    el('span', { class: 'file-names' }, el('span', { class: 'file-name' }, name), more ? el('span', { class: 'file-more' }, more) : null)), { class: 'file-link' });
}

function size(bytes) {
  if (!Number.isFinite(bytes)) return '';
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

function sharedField(content) {
  const value = content.value ?? '';
  const button = el('button', { type: 'button', class: 'small', 'data-testid': 'copy', 'aria-label': `Copy ${value}` }, 'Copy');
  button.addEventListener('click', async () => {
    button.textContent = (await copy(value)) ? 'Copied' : 'Not copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  return [
    el('p', { class: 'kind' }, `Shared the ${fieldName(content.field)}`),
    el('p', { class: 'shared' }, el('span', { class: 'shared-value', 'data-testid': 'shared-value', 'data-field': content.field }, value), button),
  ];
}

const chips = (titles) => el('ul', { class: 'chips' }, titles.map((title) => el('li', {}, title)));

function buttonList(buttons) {
  return el('ul', { class: 'button-list' }, (buttons ?? []).map((it) =>
    el('li', {}, it.type === 'url' ? link(it.url, it.title) : el('span', { title: it.phone ?? it.payload ?? '' }, it.title))));
}

function card(it) {
  const src = safeUrl(it.image_url);
  const image = src ? el('img', { src, alt: '', referrerpolicy: 'no-referrer' }) : null;
  image?.addEventListener('error', () => image.remove(), { once: true });
  return el('div', { class: 'card' }, image,
    el('div', { class: 'card-text' }, el('strong', {}, it.url ? link(it.url, it.title ?? '') : it.title ?? ''), it.subtitle ? el('p', { class: 'muted' }, it.subtitle) : null),
    it.buttons?.length ? buttonList(it.buttons) : null);
}
