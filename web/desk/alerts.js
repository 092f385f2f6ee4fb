// Everything that asks for attention: toasts, the screen reader's line, the blinking title, the sound.

import { byId, el } from './dom.js';

const TITLE = 'Chatgate desk';
const TOAST_MS = 7000;

export function toast(text, kind = 'info') {
  const node = el('div', { class: `toast ${kind}` }, el('span', {}, text), el('button', { type: 'button', class: 'quiet small', 'aria-label': 'Dismiss', onclick: () => node.remove() }, '×'));
  byId('toasts').append(node);
  setTimeout(() => node.remove(), TOAST_MS);
}

export function announce(text) {
  byId('announce').textContent = text;
}

// ---- Title ----

let blinker = null;

/** Shows the count in the title; blinks while a chat is on offer and the tab is not in front. */
export function updateTitle(unread, offered) {
  const plain = unread > 0 ? `(${unread}) ${TITLE}` : TITLE;
  if (offered > 0 && !document.hasFocus()) {
    blinker ??= setInterval(() => {
      if (document.hasFocus()) return stopBlinking(plain);
      document.title = document.title.startsWith('●') ? plain : '● Chat offered';
    }, 1000);
  } else {
    stopBlinking(plain);
  }
}

function stopBlinking(plain) {
  clearInterval(blinker);
  blinker = null;
  if (document.title !== plain) document.title = plain;
}

// ---- Sound ----

let audio = null;
let soundOn = localStorage.getItem('desk.sound') === 'on';

export function bindSound() {
  const button = byId('sound');
  const show = () => {
    button.setAttribute('aria-pressed', String(soundOn));
    button.textContent = soundOn ? 'Sound on' : 'Sound off';
  };
  button.addEventListener('click', () => {
    soundOn = !soundOn;
    localStorage.setItem('desk.sound', soundOn ? 'on' : 'off');
    show();
    if (soundOn) ring();
  });
  show();
}

/** Two short tones, made here: the page loads no files. */
export function ring() {
  if (!soundOn) return;
  try {
    audio ??= new AudioContext();
    [660, 880].forEach((frequency, index) => {
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
  } catch { /* no sound device */ }
}
