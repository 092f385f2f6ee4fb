/** Languages that are written from right to left. */
const FROM_RIGHT = new Set(['ar', 'ckb', 'dv', 'fa', 'he', 'ps', 'sd', 'ug', 'ur', 'yi']);

/** Which way a page in this language runs; regions and scripts do not matter. */
export const directionOf = (language: string): 'rtl' | 'ltr' => (FROM_RIGHT.has(language.toLowerCase().split(/[-_]/)[0] ?? '') ? 'rtl' : 'ltr');
