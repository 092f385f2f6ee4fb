// The login form. `?tenant=&email=` prefill it; a password in the address is ignored.

import { post } from './api.js';
import { byId, showError } from './dom.js';

const TENANT = 'desk.tenant'; // nobody likes to type it every morning; it is no secret
const FIELDS = ['tenant', 'email', 'password'];
const field = (name) => byId(`login-${name}`);

export function bindLogin(onDone) {
  const form = byId('login-form');
  const query = new URLSearchParams(location.search);
  for (const name of ['tenant', 'email']) if (query.get(name)) field(name).value = query.get(name);
  field('tenant').value ||= localStorage.getItem(TENANT) ?? '';

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    clearErrors();
    const missing = FIELDS.filter((name) => field(name).value.trim() === '');
    for (const name of missing) fieldError(name, 'Please fill this in.');
    if (missing.length > 0) return field(missing[0]).focus();

    const button = form.querySelector('button[type=submit]');
    button.disabled = true;
    try {
      await post('/sessions', { tenant: field('tenant').value.trim(), email: field('email').value.trim(), password: field('password').value }, { quiet401: true });
      localStorage.setItem(TENANT, field('tenant').value.trim());
      field('password').value = '';
      await onDone();
    } catch (problem) {
      showProblem(problem);
    } finally {
      button.disabled = false;
    }
  });
}

export function showLogin(reason) {
  byId('desk').hidden = true;
  byId('login').hidden = false;
  document.title = 'Log in · Chatgate desk';
  clearErrors();
  showError(byId('login-error'), reason);
  (FIELDS.map(field).find((input) => input.value === '') ?? field('tenant')).focus();
}

export function hideLogin() {
  byId('login').hidden = true;
  clearErrors();
}

function showProblem(problem) {
  for (const name of FIELDS) fieldError(name, problem.at?.(`/${name}`));
  const wait = problem.status === 429 && problem.retryAfter ? ` Try again in ${problem.retryAfter} s.` : '';
  showError(byId('login-error'), problem.message + wait);
  (FIELDS.map(field).find((input) => input.getAttribute('aria-invalid') === 'true') ?? field('password')).focus();
}

function fieldError(name, text) {
  const note = byId(`login-${name}-error`);
  showError(note, text);
  field(name).toggleAttribute('aria-invalid', false);
  if (text) {
    field(name).setAttribute('aria-invalid', 'true');
    field(name).setAttribute('aria-describedby', note.id);
  }
}

function clearErrors() {
  showError(byId('login-error'), null);
  for (const name of FIELDS) fieldError(name, null);
}
