// The desk's language: English is built in, others are loaded when chosen. A catalogue is a typed object, so a missing
// text is a type error.
import { directionOf } from './direction';
import { en } from './en';

/** A catalogue: English's shape, any words. */
export type Texts = Widen<typeof en>;
type Widen<T> = T extends string ? string : T extends (...args: infer A) => string ? (...args: A) => string : { [K in keyof T]: Widen<T[K]> };

/** Every language: its own name, and its texts. A new one is a line here and a file beside this one. */
const LANGUAGES = {
  en: { name: 'English', load: async (): Promise<Texts> => en },
  tr: { name: 'Türkçe', load: async (): Promise<Texts> => (await import('./tr')).tr },
};
export type Language = keyof typeof LANGUAGES;
export const languages = Object.entries(LANGUAGES).map(([code, { name }]) => ({ code: code as Language, name }));

const KEY = 'desk.language';
const isLanguage = (code: string | null | undefined): code is Language => Boolean(code && code in LANGUAGES);

class I18n {
  language = $state<Language>('en');
  t = $state.raw<Texts>(en);

  /** The chosen language, or the browser's. */
  async start() {
    const wanted = [localStorage.getItem(KEY), ...navigator.languages.map((it) => it.slice(0, 2))].find(isLanguage);
    await this.show(wanted ?? 'en').catch(() => {});
  }

  async choose(language: Language) {
    await this.show(language);
    localStorage.setItem(KEY, language);
  }

  private async show(language: Language) {
    this.t = await LANGUAGES[language].load();
    this.language = language;
    document.documentElement.lang = language;
    document.documentElement.dir = directionOf(language);
  }
}
export const i18n = new I18n();
