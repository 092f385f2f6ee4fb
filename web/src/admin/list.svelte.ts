/** A list that is read when its page opens, and again after every change. */
export class Listed<T> {
  items = $state.raw<T[] | null>(null);
  hasFailed = $state(false);

  constructor(readonly read: () => Promise<T[]>) {
    void this.again();
  }

  async again() {
    try {
      this.items = await this.read();
      this.hasFailed = false;
    } catch {
      this.hasFailed = this.items === null;
    }
  }
}

interface Part<T> {
  items: T[];
  next?: string | null | undefined;
}

/** A list without an end in sight: read part by part, as far as somebody wants to see. */
export class Paged<T> {
  items = $state.raw<T[] | null>(null);
  hasFailed = $state(false);
  isBusy = $state(false);
  #next = $state<string | null>(null);
  #reading = 0;

  constructor(readonly read: (after: string | undefined) => Promise<Part<T>>) {
    void this.again();
  }

  get hasMore(): boolean {
    return this.#next !== null;
  }

  /** From the beginning. */
  async again() {
    await this.#part([], undefined);
  }

  async more() {
    if (this.#next && !this.isBusy) await this.#part(this.items ?? [], this.#next);
  }

  async #part(before: T[], after: string | undefined) {
    const reading = ++this.#reading;
    this.isBusy = true;
    try {
      const part = await this.read(after);
      if (reading !== this.#reading) return; // asked for something else meanwhile
      this.items = [...before, ...part.items];
      this.#next = part.next ?? null;
      this.hasFailed = false;
    } catch {
      if (reading === this.#reading) this.hasFailed = true;
    } finally {
      if (reading === this.#reading) this.isBusy = false;
    }
  }
}
