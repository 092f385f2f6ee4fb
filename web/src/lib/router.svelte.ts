// Which screen: the path below /desk. Unknown paths are the chats.

const BASE = '/desk';

const pathOf = () => decodeURIComponent(location.pathname.slice(BASE.length)).split('/').filter(Boolean);

class Router {
  parts = $state.raw<string[]>(pathOf());

  constructor() {
    addEventListener('popstate', () => (this.parts = pathOf()));
  }

  get screen(): string {
    return this.parts[0] ?? 'chats';
  }

  go(path: string, { replace = false } = {}) {
    const url = BASE + (path === '/' ? '' : path);
    if (url === location.pathname) return;
    history[replace ? 'replaceState' : 'pushState'](null, '', url + (replace ? location.search : ''));
    this.parts = pathOf();
  }
}
export const router = new Router();

/** For plain links inside the desk: followed here, opened by the browser with Ctrl, Shift or the middle button. */
export function followHere(event: MouseEvent) {
  const link = (event.currentTarget as HTMLElement).closest('a');
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  router.go(link.pathname.slice(BASE.length) || '/');
}
