interface Numbered {
  id: string;
  seq: number;
}

/** Both lists as one in order of seq; of the same message `newer` wins. Quick where `newer` only adds at an end. */
export function merge<T extends Numbered>(known: T[], newer: T[]): T[] {
  const first = newer[0];
  if (!first) return known;
  if (first.seq > (known.at(-1)?.seq ?? 0)) return [...known, ...newer];
  if ((newer.at(-1)?.seq ?? 0) < (known[0]?.seq ?? Infinity)) return [...newer, ...known];
  const bySeq = new Map(known.map((it) => [it.seq, it]));
  for (const it of newer) bySeq.set(it.seq, it);
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}
