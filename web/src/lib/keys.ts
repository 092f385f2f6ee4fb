const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

/** How the Alt key is called here. */
export const ALT = isMac ? '⌥' : 'Alt';

/** The key pressed together with Alt alone: the letter on the key, whatever Alt makes of it. */
export function altKey(event: KeyboardEvent): string | null {
  if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return null;
  return event.code.startsWith('Key') ? event.code.slice(3) : event.code;
}
