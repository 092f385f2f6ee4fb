// The desk's language: English is built in, others are loaded when chosen. A catalogue is a typed object, so a missing
// text is a type error.
import { directionOf } from './direction';
import { en } from './en';
import { inOtherWords, type Said } from './said';

/** A catalogue: English's shape, any words. */
export type Texts = Widen<typeof en>;
type Widen<T> = T extends string ? string : T extends (...args: infer A) => string ? (...args: A) => string : { [K in keyof T]: Widen<T[K]> };

interface Catalogue {
  texts: Texts;
  /** What the gateway says; null where that is the language. */
  said: Said | null;
}

/** Every language: its own name, and its texts. A new one is a line here and two files beside this one. */
const LANGUAGES = {
  en: { name: 'English', load: async (): Promise<Catalogue> => ({ texts: en, said: null }) },
  tr: {
    name: 'Türkçe',
    load: async (): Promise<Catalogue> => {
      const [{ tr }, { said }] = await Promise.all([import('./tr'), import('./said.tr')]);
      return { texts: tr, said };
    },
  },
};
export type Language = keyof typeof LANGUAGES;
export const languages = Object.entries(LANGUAGES).map(([code, { name }]) => ({ code: code as Language, name }));

const KEY = 'desk.language';
const isLanguage = (code: string | null | undefined): code is Language => Boolean(code && code in LANGUAGES);

class I18n {
  language = $state<Language>('en');
  t = $state.raw<Texts>(en);
  #said = $state.raw<Said | null>(null);

  /** The chosen language, or the browser's. */
  async start() {
    const wanted = [localStorage.getItem(KEY), ...navigator.languages.map((it) => it.slice(0, 2))].find(isLanguage);
    await this.show(wanted ?? 'en').catch(() => {});
  }

  async choose(language: Language) {
    await this.show(language);
    localStorage.setItem(KEY, language);
  }

  /** A sentence of the gateway in the desk's language, as far as it is known. */
  say(sentence: string): string {
    // The API's names of fields are not what stands above them here.
    const field = /^is needed with (\w+)$/.exec(sentence)?.[1];
    const label = field && (this.t.queues.fields as Record<string, string>)[field];
    if (label) return this.t.errors.neededWith(label);
    return (this.#said && inOtherWords(this.#said, sentence)) ?? sentence;
  }

  /** What a refusal means: its own words where they can be said, otherwise what its kind means and the words as they are. */
  sayProblem(slug: string, detail: string): string {
    const kind = this.#said?.problems[slug];
    const words = this.say(detail);
    if (!kind || words !== detail) return words;
    return ['conflict', 'in-use', 'graph-refused'].includes(slug) ? `${kind} (${detail})` : kind;
  }

  private async show(language: Language) {
    const { texts, said } = await LANGUAGES[language].load();
    this.t = texts;
    this.#said = said;
    this.language = language;
    document.documentElement.lang = language;
    document.documentElement.dir = directionOf(language);
  }
}
export const i18n = new I18n();
