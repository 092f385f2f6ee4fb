// Everything that asks for attention: toasts, the screen reader's line, the title, sound, the browser's notifications.
import { i18n } from '../i18n/index.svelte';

const TOAST_MS = 7000;
const SOUND_KEY = 'desk.sound';
const ASKED_KEY = 'desk.notifications-asked';

export interface Toast {
  id: number;
  text: string;
  kind: 'info' | 'good' | 'bad';
}

class Alerts {
  toasts = $state.raw<Toast[]>([]);
  /** Read out by screen readers. */
  announcement = $state('');
  isSoundOn = $state(localStorage.getItem(SOUND_KEY) !== 'off');
  /** The browser can show notifications and nobody has been asked yet. */
  mayAsk = $state('Notification' in globalThis && Notification.permission === 'default' && !localStorage.getItem(ASKED_KEY));
  #nextId = 1;
  #audio: AudioContext | null = null;

  toast(text: string, kind: Toast['kind'] = 'info') {
    const toast = { id: this.#nextId++, text, kind };
    // The same sentence once is enough.
    this.toasts = [...this.toasts.filter((it) => it.text !== text), toast].slice(-4);
    setTimeout(() => this.dismiss(toast.id), TOAST_MS);
  }

  dismiss(id: number) {
    this.toasts = this.toasts.filter((it) => it.id !== id);
  }

  announce(text: string) {
    this.announcement = text;
  }

  setSound(on: boolean) {
    this.isSoundOn = on;
    localStorage.setItem(SOUND_KEY, on ? 'on' : 'off');
    if (on) this.ring();
  }

  /** Asks the browser, once; whatever the answer is, it is not asked again. */
  async askForNotifications() {
    this.mayAsk = false;
    localStorage.setItem(ASKED_KEY, '1');
    await Notification.requestPermission();
  }

  declineNotifications() {
    this.mayAsk = false;
    localStorage.setItem(ASKED_KEY, '1');
  }

  /** Tells somebody who looks elsewhere. */
  notify(title: string, body: string, tag: string) {
    if (document.hasFocus() || !('Notification' in globalThis) || Notification.permission !== 'granted') return;
    try {
      const shown = new Notification(title, { body, tag, lang: i18n.language });
      shown.onclick = () => {
        window.focus();
        shown.close();
      };
    } catch {
      // Android's browsers have the name, but not the thing.
    }
  }

  /** Two short tones for an offer, one for a message; made here, so that no file is loaded. */
  ring(tones: readonly number[] = [660, 880]) {
    if (!this.isSoundOn) return;
    try {
      const audio = (this.#audio ??= new AudioContext());
      tones.forEach((frequency, index) => {
        const at = audio.currentTime + index * 0.16;
        const tone = audio.createOscillator();
        const volume = audio.createGain();
        tone.frequency.value = frequency;
        volume.gain.setValueAtTime(0.08, at);
        volume.gain.exponentialRampToValueAtTime(0.001, at + 0.15);
        tone.connect(volume).connect(audio.destination);
        tone.start(at);
        tone.stop(at + 0.16);
      });
    } catch {
      // No sound device.
    }
  }
}
export const alerts = new Alerts();
