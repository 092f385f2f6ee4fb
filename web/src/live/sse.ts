// Reads text/event-stream. Own lines because the browser's EventSource hides status codes, and a session's end (401)
// must be told apart from a broken line.

export interface Sse {
  id: string;
  data: string;
}

/** Takes the stream apart as it comes in; gives back complete events. Comments and other fields are left out. */
export class SseParser {
  #rest = '';
  #data: string[] = [];
  #id = '';

  push(chunk: string): Sse[] {
    const events: Sse[] = [];
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      if (line === '') {
        if (this.#data.length > 0) events.push({ id: this.#id, data: this.#data.join('\n') });
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(':');
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') this.#data.push(value);
      else if (field === 'id') this.#id = value;
    }
    return events;
  }
}
