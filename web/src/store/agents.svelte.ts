// Colleagues, queues and widgets, as far as one chooses from them; and my own status.
import { SvelteMap } from 'svelte/reactivity';
import { api, ask } from '../api/client';
import type { components } from '../api/schema';
import type { Agent, AgentStatus, Room } from '../api/types';
import { rooms } from './rooms.svelte';
import { session } from './session.svelte';

export type Colleague = components['schemas']['Colleague'];
type QueueName = components['schemas']['QueueName'];
type WidgetChoice = components['schemas']['WidgetChoice'];

interface Status {
  status: AgentStatus;
  reason: string | null;
  since: string;
}

class Agents {
  byId = new SvelteMap<string, Colleague>();
  queues = $state.raw<QueueName[]>([]);
  widgets = $state.raw<WidgetChoice[]>([]);
  mine = $state.raw<Status>({ status: 'offline', reason: null, since: '' });

  list = $derived([...this.byId.values()].sort((a, b) => a.name.localeCompare(b.name)));
  /** Rooms of each agent by the rooms known here; complete for those who see all. */
  load = $derived.by(() => {
    const counts: Record<string, number> = {};
    for (const room of rooms.byId.values()) {
      const holder = room.status === 'active' ? room.agent?.id : room.status === 'offered' ? room.offer?.agent_id : undefined;
      if (holder) counts[holder] = (counts[holder] ?? 0) + 1;
    }
    return counts;
  });

  async loadDirectory() {
    const directory = await ask(api.GET('/api/v1/directory'));
    this.byId.clear();
    for (const agent of directory.agents) this.byId.set(agent.id, agent);
    this.queues = directory.queues;
    this.widgets = directory.widgets;
    const me = session.me && this.byId.get(session.me.id);
    if (me) this.#setMine(me);
  }

  put(agent: Agent) {
    this.byId.set(agent.id, agent as Colleague);
    if (agent.id === session.me?.id) this.#setMine(agent as Colleague);
  }

  async setMine(status: AgentStatus, reason: string | null) {
    this.put(await ask(api.PUT('/api/v1/me/status', { body: { status, reason } })));
  }

  async set(id: string, status: AgentStatus, reason: string | null) {
    this.put(await ask(api.PUT('/api/v1/agents/{id}/status', { params: { path: { id } }, body: { status, reason } })));
  }

  tagsOf(room: Room) {
    return this.widgets.find((it) => it.id === room.widget.id)?.tags ?? { offered: [], required: false };
  }

  #setMine(agent: Colleague) {
    this.mine = { status: agent.status, reason: agent.reason ?? null, since: agent.status_since };
  }
}
export const agents = new Agents();
