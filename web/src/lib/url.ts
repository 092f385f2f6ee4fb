// Addresses from customers are data until proven harmless.

/** The address, if following it can only open a web page. */
export function webUrl(text: string | null | undefined): string | null {
  if (!text) return null;
  try {
    const url = new URL(text);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch {
    return null;
  }
}

/** The address of a picture or recording: a web address, or one of our own. */
export function mediaUrl(text: string | null | undefined): string | null {
  if (text?.startsWith('/') && !text.startsWith('//') && !text.startsWith('/\\')) return text;
  return webUrl(text);
}

export interface Part {
  text: string;
  href: string | null;
}

/** Cuts a text into plain parts and web addresses; joined again it is the same text. */
export function withLinks(text: string): Part[] {
  const parts: Part[] = [];
  const add = (piece: string, href: string | null) => {
    if (piece !== '') parts.push({ text: piece, href });
  };
  let at = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"'`{}|\\^]+/gi)) {
    // A full stop or bracket at the end belongs to the sentence.
    const address = match[0].replace(/[.,;:!?)\]}…]+$/u, '');
    add(text.slice(at, match.index), null);
    add(address, webUrl(address));
    at = match.index + address.length;
  }
  add(text.slice(at), null);
  return parts;
}
