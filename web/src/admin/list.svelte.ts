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
