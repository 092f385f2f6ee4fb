// What can go wrong with a request, as one kind of error; told in the desk's language.
import { i18n } from '../i18n/index.svelte';

export interface FieldError {
  pointer: string;
  detail: string;
}

/** The gateway said no. */
export class Problem extends Error {
  readonly slug: string;
  readonly errors: FieldError[];

  constructor(
    readonly status: number,
    readonly body: Record<string, unknown> = {},
    readonly retryAfterS: number | null = null,
  ) {
    const slug = String(body.type ?? '').split('/').filter(Boolean).pop() ?? '';
    super(i18n.sayProblem(slug, String(body.detail ?? body.title ?? `HTTP ${status}`)));
    this.slug = slug;
    const errors = Array.isArray(body.errors) ? (body.errors as FieldError[]) : [];
    this.errors = errors.map((it) => ({ ...it, detail: i18n.say(it.detail) }));
  }

  /** All of it, where no field shows its part. */
  get words(): string {
    return this.errors.map((it) => it.detail).join(' ') || this.message;
  }

  /** The sentences for one field, by its JSON pointer, those of its parts included. */
  at(pointer: string): string | undefined {
    const found = this.errors.filter((it) => it.pointer === pointer || it.pointer.startsWith(`${pointer}/`));
    return found.length > 0 ? found.map((it) => it.detail).join(' ') : undefined;
  }

  /** What no shown field takes: the rest of the field errors, or the whole sentence. */
  rest(pointers: readonly string[]): string | undefined {
    if (this.errors.length === 0) return this.message;
    const rest = this.errors.filter((it) => !pointers.some((at) => it.pointer === at || it.pointer.startsWith(`${at}/`)));
    return rest.length > 0 ? rest.map((it) => `${it.pointer.slice(1)}: ${it.detail}`).join(' ') : undefined;
  }
}

/** No answer came: nobody knows whether the gateway did what was asked. */
export class Unreachable extends Error {
  constructor() {
    super('unreachable');
  }
}
