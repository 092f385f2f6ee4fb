// Who is signed in. A session's end keeps the desk on the screen, typed text and all, and asks for the password above it.
import { api, ask, whenSessionEnds } from '../api/client';
import { Problem } from '../api/problem';
import type { Me, Role } from '../api/types';

type State = 'unknown' | 'out' | 'in' | 'ended';

class Session {
  state = $state<State>('unknown');
  me = $state.raw<Me | null>(null);

  constructor() {
    whenSessionEnds(() => this.end());
  }

  /** Whether the cookie still opens the door. */
  async resume() {
    try {
      this.me = await ask(api.GET('/api/v1/me'), { isLogin: true });
      this.state = 'in';
    } catch (error) {
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) this.state = 'out';
      else throw error;
    }
  }

  async signIn(tenant: string, email: string, password: string) {
    const before = this.me;
    const { user } = await ask(api.POST('/api/v1/sessions', { body: { tenant, email, password } }), { isLogin: true });
    // Somebody else at the same screen begins with a clean one.
    if (before && before.id !== user.id) location.reload();
    this.me = user;
    this.state = 'in';
  }

  async signOut() {
    await ask(api.DELETE('/api/v1/sessions/current'), { isLogin: true }).catch(() => {});
    location.assign('/desk');
  }

  end() {
    if (this.state === 'in') this.state = 'ended';
  }

  has(...roles: Role[]): boolean {
    return this.me?.roles.some((it) => roles.includes(it)) ?? false;
  }

  get isAgent() {
    return this.has('agent');
  }
  /** Sees every room of the tenant. */
  get watches() {
    return this.has('supervisor');
  }
  get isAdmin() {
    return this.has('admin');
  }
}
export const session = new Session();
