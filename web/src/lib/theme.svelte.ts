// Light or dark: as the system has it, or as chosen.
const KEY = 'desk.theme';
export type Choice = 'system' | 'light' | 'dark';

class Theme {
  choice = $state<Choice>('system');

  start() {
    const kept = localStorage.getItem(KEY);
    if (kept === 'light' || kept === 'dark') this.choice = kept;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#show());
    this.#show();
  }

  choose(choice: Choice) {
    this.choice = choice;
    if (choice === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
    this.#show();
  }

  #show() {
    const isDark = this.choice === 'dark' || (this.choice === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);
    document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  }
}
export const theme = new Theme();
