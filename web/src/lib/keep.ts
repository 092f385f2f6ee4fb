// Small things kept in this browser: drafts by person and room. A full or forbidden store loses nothing but comfort.

const PREFIX = 'desk.draft.';

const keyOf = (userId: string, roomId: string) => `${PREFIX}${userId}.${roomId}`;

export function loadDraft(userId: string, roomId: string): string {
  try {
    return localStorage.getItem(keyOf(userId, roomId)) ?? '';
  } catch {
    return '';
  }
}

export function saveDraft(userId: string, roomId: string, text: string) {
  try {
    if (text === '') localStorage.removeItem(keyOf(userId, roomId));
    else localStorage.setItem(keyOf(userId, roomId), text);
  } catch {
    // The text is still in the field.
  }
}
