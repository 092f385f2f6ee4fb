// Moments and lengths of time in the reader's zone and language.
import { i18n } from '../i18n/index.svelte';

const DAY_MS = 86_400_000;
const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = i18n.language + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new Intl.DateTimeFormat(i18n.language === 'en' ? navigator.language : i18n.language, options)));
  return found;
}

const clock = (at: Date) => format({ hour: '2-digit', minute: '2-digit' }).format(at);
const dayOf = (ms: number) => new Date(ms).setHours(0, 0, 0, 0);

/** 14:05 */
export const timeOfDay = (at: string) => clock(new Date(at));

/** Today 14:05, otherwise with the day. */
export function shortTime(at: string, nowMs: number): string {
  const date = new Date(at);
  if (dayOf(date.getTime()) === dayOf(nowMs)) return clock(date);
  return format({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).format(date);
}

/** Everything, for titles. */
export const fullTime = (at: string) => format({ dateStyle: 'full', timeStyle: 'medium' }).format(new Date(at));

/** A sentence of the gateway in the desk's language, with its moments as they are told here. */
export const told = (sentence: string, nowMs: number) => i18n.say(sentence).replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (at) => shortTime(at, nowMs));

/** The heading of a day. */
export function dayName(at: string, nowMs: number): string {
  const day = dayOf(Date.parse(at));
  const ago = Math.round((dayOf(nowMs) - day) / DAY_MS);
  if (ago === 0) return i18n.t.time.today;
  if (ago === 1) return i18n.t.time.yesterday;
  return format({ weekday: 'long', day: 'numeric', month: 'long', year: ago > 300 ? 'numeric' : undefined }).format(new Date(day));
}

export const sameDay = (one: string, other: string) => dayOf(Date.parse(one)) === dayOf(Date.parse(other));

/** A length of time in its two largest useful units: 45 s, 3 min, 2 h 5 min, 3 d. */
export function span(ms: number): string {
  const { s, min, h, d } = i18n.t.time;
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} ${s}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} ${min}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} ${h}` : `${hours} ${h} ${minutes % 60} ${min}`;
  return `${Math.floor(hours / 24)} ${d}`;
}

export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined) return '';
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${Math.round(size / 1024)} KB`;
  return `${(size / 1024 / 1024).toFixed(1)} MB`;
}
