// Keeps the stores equal to the gateway: one snapshot, then events; after a lost line the stream goes on from its cursor.
import { SvelteMap } from 'svelte/reactivity';
import { api, ask, askAll } from '../api/client';
import { Problem } from '../api/problem';
import type { Agent, Contact, EventOf, Message, Room, Widget } from '../api/types';
import { serverNow } from '../lib/clock.svelte';
import { summary } from '../lib/summary';
import { i18n } from '../i18n/index.svelte';
import { follow, type StreamState } from '../live/stream';
import { agents } from './agents.svelte';
import { alerts } from './alerts.svelte';
import { isMine, isOfferedToMe, rooms } from './rooms.svelte';
import { session } from './session.svelte';
import { threads } from './threads.svelte';

/** How long "is typing" stays when nobody says it stopped. */
const TYPING_MS = 8000;
const RETRY_MS = 3000;

class Sync {
  stream = $state<StreamState>('connecting');
  /** Widgets whose state changed since the page was opened. */
  widgets = new SvelteMap<string, Widget>();
  #stop: (() => void) | null = null;
  // While a snapshot is read, events wait: it may be older or newer than they are, and applying them afterwards ends in
  // the newest state either way.
  #waiting: EventOf[] | null = null;

  start() {
    if (this.#stop) return;
    this.#stop = follow({
      onOpen: (isFresh) => {
        if (isFresh) void this.#reload();
      },
      onEvent: (event) => (this.#waiting ? this.#waiting.push(event) : this.apply(event)),
      onState: (state) => (this.stream = state),
      onSessionEnd: () => {
        this.#stop = null;
        session.end();
      },
    });
  }

  stop() {
    this.#stop?.();
    this.#stop = null;
  }

  async #reload() {
    if (this.#waiting) return;
    this.#waiting = [];
    try {
      await Promise.all([agents.loadDirectory(), this.#readRooms()]);
      rooms.isLoaded = true;
    } catch (error) {
      // Without its beginning the rest is worthless: again, unless the session is over.
      if (!(error instanceof Problem && error.status === 401)) setTimeout(() => void this.#reload(), RETRY_MS);
    } finally {
      const events = this.#waiting;
      this.#waiting = null;
      for (const event of events) this.apply(event);
    }
  }

  async #readRooms() {
    const current = session.watches
      ? await askAll((after) => api.GET('/api/v1/rooms', { params: { query: { status: 'waiting,offered,active', limit: 200, after } } }))
      : session.isAgent
        ? await askAll((after) => api.GET('/api/v1/me/rooms', { params: { query: { limit: 200, after } } }))
        : [];
    const listed = new Set(current.map((it) => it.id));
    const gone = [...rooms.byId.values()].filter((it) => it.status !== 'closed' && !listed.has(it.id));
    for (const room of current) this.#noteChange(room, rooms.put(room));
    await Promise.all(gone.map((room) => this.refresh(room.id)));
    const own = [...current.filter((it) => isMine(it) || isOfferedToMe(it)), ...current.filter((it) => it.id === rooms.selectedId)];
    await Promise.all(own.map((room) => threads.of(room.id).loadNewest().catch(() => {})));
  }

  /** Reads one room anew; forgets it if it may not be seen any more. */
  async refresh(id: string): Promise<Room | null> {
    try {
      const room = await ask(api.GET('/api/v1/rooms/{id}', { params: { path: { id } } }));
      rooms.put(room);
      return rooms.byId.get(id) ?? room;
    } catch (error) {
      if (error instanceof Problem && (error.status === 403 || error.status === 404)) rooms.forget(id);
      return null;
    }
  }

  apply(event: EventOf) {
    const data: unknown = event.data;
    const [subject] = event.kind.split('.');
    if (event.kind === 'contact.typing') this.#typing(event);
    else if (subject === 'room') this.#noteChange(data as Room, rooms.put(data as Room));
    else if (subject === 'message') this.#message(data as Message, event.kind === 'message.created');
    else if (subject === 'contact') rooms.contact(data as Contact);
    else if (subject === 'agent') agents.put(data as Agent);
    else if (subject === 'widget') this.widgets.set((data as Widget).id, data as Widget);
  }

  #typing({ room_id, data }: EventOf) {
    if (!room_id) return;
    const isOn = (data as { on?: boolean } | null)?.on !== false;
    if (isOn) rooms.typingUntil.set(room_id, serverNow() + TYPING_MS);
    else rooms.typingUntil.delete(room_id);
  }

  #message(message: Message, isNew: boolean) {
    threads.put(message);
    const room = rooms.byId.get(message.room_id);
    if (!isNew || !room || message.direction !== 'inbound' || !isMine(room)) return;
    const text = `${message.author.name}: ${summary(message.content)}`;
    alerts.announce(text);
    if (!document.hasFocus() || rooms.selectedId !== room.id) {
      alerts.ring([740]);
      alerts.notify(message.author.name, summary(message.content), room.id);
    }
  }

  #noteChange(room: Room, change: ReturnType<typeof rooms.put>) {
    const name = room.contact.name ?? i18n.t.chat.unknownContact;
    if (change === 'offered' || (change === 'gained' && rooms.isLoaded)) {
      const text = change === 'offered' ? i18n.t.offers.announce(name) : i18n.t.offers.given(name);
      alerts.announce(text);
      alerts.ring();
      alerts.notify(text, room.widget.name, room.id);
      void threads.of(room.id).loadNewest().catch(() => {});
    } else if (change === 'lost' && room.status === 'active' && room.agent) {
      alerts.toast(i18n.t.offers.lost(name, room.agent.name));
    }
  }
}
export const sync = new Sync();
