// What can go wrong with a request, as one kind of error.

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
    super(String(body.detail ?? body.title ?? `HTTP ${status}`));
    this.slug = String(body.type ?? '').split('/').filter(Boolean).pop() ?? '';
    this.errors = Array.isArray(body.errors) ? (body.errors as FieldError[]) : [];
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
