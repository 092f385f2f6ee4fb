import { expect, test } from 'vitest';
import { SseParser } from './sse';

const whole = 'id: 1-2\nevent: room.updated\ndata: {"a":1}\n\n: alive\n\nid: 1-3\r\ndata:x\r\ndata: y\r\n\r\n';

test('events come whole, however the bytes are cut', () => {
  for (let size = 1; size <= whole.length; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < whole.length; at += size) events.push(...parser.push(whole.slice(at, at + size)));
    expect(events).toEqual([
      { id: '1-2', data: '{"a":1}' },
      { id: '1-3', data: 'x\ny' },
    ]);
  }
});

test('an unfinished event is not given', () => {
  expect(new SseParser().push('id: 1\ndata: half')).toEqual([]);
  expect(new SseParser().push('id: 1\ndata: half\n')).toEqual([]);
});
