// The ordinary week as pieces of days, for drawing: what runs over midnight is cut there.
import type { DayInterval } from '../api/types';

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Day = (typeof DAYS)[number];
const DAY_MIN = 24 * 60;

export interface Piece {
  day: number;
  /** Minutes from midnight. */
  from: number;
  to: number;
  /** The interval it is a part of. */
  of: number;
}

export function minutes(time: string): number {
  const [hours = 0, mins = 0] = time.split(':').map(Number);
  return hours * 60 + mins;
}

export function pieces(intervals: readonly Pick<DayInterval, 'day' | 'from' | 'to'>[]): Piece[] {
  return intervals.flatMap(({ day, from, to }, of) => {
    const at = DAYS.indexOf(day as Day);
    const [begin, end] = [minutes(from), minutes(to)];
    if (at < 0) return [];
    if (end > begin) return [{ day: at, from: begin, to: end, of }];
    const rest = end === 0 ? [] : [{ day: (at + 1) % 7, from: 0, to: end, of }];
    return [{ day: at, from: begin, to: DAY_MIN, of }, ...rest];
  });
}
