import { expect, test } from 'vitest';
import { Figures } from './figures.svelte';

test('a snapshot replaces the figures, a change only its own queues', () => {
  const figures = new Figures();
  const queue = (id: string, answered_today: number) => ({ id, answered_today });
  figures.take(JSON.stringify({ queues: [queue('a', 1), queue('b', 2)] }), true);
  figures.take(JSON.stringify({ queues: [queue('b', 3)], agents: [] }), false);
  expect([...figures.byQueue.values()].map((it) => it.answered_today)).toEqual([1, 3]);
  figures.take(JSON.stringify({ agents: [] }), false);
  figures.take(JSON.stringify({ queues: [queue('c', 4)] }), true);
  expect([...figures.byQueue.keys()]).toEqual(['c']);
});
