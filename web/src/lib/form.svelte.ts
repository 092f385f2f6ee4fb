// What every form shares: busy while it is being saved, field errors from the gateway, one sentence for the rest.
import { Problem } from '../api/problem';
import { i18n } from '../i18n/index.svelte';

export class Form {
  isBusy = $state(false);
  #problem = $state.raw<Problem | null>(null);
  #other = $state('');

  /** Does the work; true if it went well. */
  async run(work: () => Promise<unknown>): Promise<boolean> {
    this.isBusy = true;
    this.#problem = null;
    this.#other = '';
    try {
      await work();
      return true;
    } catch (error) {
      if (error instanceof Problem) this.#problem = error;
      else this.#other = i18n.t.errors.unreachable;
      return false;
    } finally {
      this.isBusy = false;
    }
  }

  /** The gateway's sentence about one field, by JSON pointer. */
  at(pointer: string): string | undefined {
    return this.#problem?.at(pointer);
  }

  /** What no shown field takes. */
  rest(pointers: readonly string[]): string | undefined {
    return this.#other || this.#problem?.rest(pointers);
  }
}
