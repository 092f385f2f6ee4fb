// An admin at work: everything that the API lets an admin set is set in the browser, comes back, and is refused at its field.
//
// Environment and exit codes: see walk.mjs.

import { ANNA, CHATGATE_URL, CUSTOMER_CHAT_URL, SIM_URL, api as demo, end, equal, faults, findings, looks, matches, open, run, signIn, step, tells, until } from './support.mjs';

let sue;
const at = (id, page = sue) => page.getByTestId(id);
const row = (text) => sue.getByRole('row').filter({ hasText: text });
const api = (...call) => demo(sue, ...call);

await step('the admin signs in', async () => {
  sue = await signIn('sue', 'sue@demo.test');
  await at('tab-setup').click();
});

// Every setting of a queue but its name, with a value that is not the default.
const QUEUE = {
  strategy: 'round_robin',
  priority: 2,
  sticky_minutes: 45,
  accept: 'manual',
  offer_timeout_s: 20,
  offer_timeout_action: 'requeue_and_away',
  wrap_up_s: 15,
  service_level_s: 90,
  waiting_text: 'You are number {position}.',
  waiting_text_every_s: 120,
  max_waiting: 7,
  max_waiting_text: 'We are too busy, {first_name}.',
  overflow_after_s: 300,
  contact_silent_text: 'Are you still there?',
  contact_silent_minutes: 10,
  contact_close_minutes: 5,
  agent_silent_minutes: 4,
  agent_return_minutes: 3,
};

await step('a queue has a field for every setting of the API', async () => {
  await at('setup-queues').click();
  await row('Sales').waitFor();
  const [sales] = (await api('GET', '/queues')).items;
  const settings = Object.keys(sales).filter((it) => !['id', 'name', 'overflow_queue_id', 'created_at', 'updated_at'].includes(it));
  equal(settings.sort().join(), Object.keys(QUEUE).sort().join(), 'the settings of a queue; a new one needs a field');
  await at('add').click();
  await at('queue-name').fill(`Support ${run}`);
  for (const [key, value] of Object.entries(QUEUE)) {
    const control = at(`queue-${key}`);
    if ((await control.evaluate((it) => it.tagName)) === 'SELECT') await control.selectOption(String(value));
    else await control.fill(String(value));
  }
  await looks('queue-form', sue);
});

await step('what is wrong is said at its field, and the field is brought into view', async () => {
  // Seconds without a queue: the gateway refuses the queue.
  await at('save').click();
  const overflow = at('queue-overflow_queue_id');
  await until(() => overflow.evaluate((it) => it === document.activeElement), 'the wrong field has the focus');
  equal(await overflow.getAttribute('aria-invalid'), 'true', 'the wrong field');
  const said = await overflow.evaluate((it) => it.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(' '));
  matches(said, /is needed with “Overflows after \(seconds\)”/, 'what stands at the field');
  await looks('queue-form-refused', sue);
});

await step('the queue is saved as it was entered, and opens again as it was saved', async () => {
  await at('queue-overflow_queue_id').selectOption({ label: 'Sales' });
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  const { items } = await api('GET', '/queues');
  const [sales, saved] = ['Sales', `Support ${run}`].map((name) => items.find((it) => it.name === name));
  for (const [key, value] of Object.entries(QUEUE)) equal(saved[key], value, `the saved ${key}`);
  equal(saved.overflow_queue_id, sales.id, 'the overflow queue');
  await row(`Support ${run}`).getByTestId('edit').click();
  for (const [key, value] of Object.entries(QUEUE)) equal(await at(`queue-${key}`).inputValue(), String(value), `the shown ${key}`);
});

await step('an emptied number means never again, and what was left alone stays', async () => {
  for (const key of ['overflow_after_s', 'max_waiting', 'waiting_text_every_s', 'contact_close_minutes', 'agent_return_minutes']) await at(`queue-${key}`).fill('');
  await at('queue-overflow_queue_id').selectOption({ index: 0 });
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  const saved = (await api('GET', '/queues')).items.find((it) => it.name === `Support ${run}`);
  for (const key of ['overflow_after_s', 'overflow_queue_id', 'max_waiting', 'waiting_text_every_s', 'contact_close_minutes', 'agent_return_minutes']) equal(saved[key], null, key);
  equal(saved.contact_silent_minutes, 10, 'what was left alone');
});

await step('hours have a language, and a wrong one is refused at its field', async () => {
  await at('setup-working-hours').click();
  await at('add').click();
  await at('hours-name').fill(`Ankara ${run}`);
  await at('hours-locale').fill('?');
  await at('save').click();
  await sue.locator('[data-testid=hours-locale][aria-invalid=true]').waitFor();
  await at('hours-locale').fill('tr-TR');
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  equal((await api('GET', '/working-hours')).items.find((it) => it.name === `Ankara ${run}`).locale, 'tr-TR', 'the language');
});

await step('an incoming chat can hold outside hours, with a text', async () => {
  await at('setup-incoming-chats').click();
  await row('Acme page').getByTestId('edit').click();
  await at('incoming-hours').selectOption({ label: `Ankara ${run} (Europe/Istanbul)` });
  await at('incoming-after').selectOption('hold');
  await at('incoming-offline').fill('Back at {next_open}.');
  await looks('incoming-form', sue);
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  const [saved] = (await api('GET', '/incoming-chats')).items;
  equal(saved.after_hours, 'hold', 'what happens outside hours');
  equal(saved.offline_message, 'Back at {next_open}.', 'the offline text');
  await row('Acme page').getByTestId('edit').click();
  await at('incoming-hours').selectOption('');
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  equal((await api('GET', '/incoming-chats')).items[0].working_hours_id, null, 'open around the clock again');
});

await step('a person is changed, locked out, and deleted', async () => {
  await at('setup-users').click();
  await at('add').click();
  await at('user-name').fill(`Dana ${run}`);
  await at('user-email').fill('ben@demo.test');
  await at('user-password').fill('long enough password');
  await at('save').click();
  await at('form-dialog').getByRole('alert').or(sue.locator('[data-testid=user-email][aria-invalid=true]')).first().waitFor();
  await at('user-email').fill(`dana-${run}@demo.test`);
  await at('role-supervisor').check();
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  await row(`dana-${run}`).getByTestId('edit').click();
  await at('user-active').uncheck();
  await at('user-max-chats').fill('9');
  await at('save').click();
  await at('form-dialog').waitFor({ state: 'detached' });
  const saved = (await api('GET', '/users')).items.find((it) => it.email === `dana-${run}@demo.test`);
  equal(`${saved.active} ${saved.max_chats} ${saved.roles.sort()}`, 'false 9 agent,supervisor', 'the person');
  await row(`dana-${run}`).getByTestId('remove').click();
  await looks('confirm', sue);
  await at('confirm-yes').click();
  await row(`dana-${run}`).waitFor({ state: 'detached' });
});

await step('a Page may be limited to plain messages, loses its token and gets it back', async () => {
  await at('setup-widgets').click();
  await at('widget').first().click();
  await at('widget-settings').click();
  await at('plain-only').check();
  await at('settings-save').click();
  const widget = async () => (await api('GET', '/widgets')).items[0];
  await until(async () => (await widget()).messenger.plain_only, 'plain messages only');
  await at('plain-only').uncheck();
  await at('settings-save').click();
  await until(async () => !(await widget()).messenger.plain_only, 'everything again');
  await at('disconnect').click();
  await looks('disconnect', sue);
  await at('confirm-yes').click();
  await at('disconnect').waitFor({ state: 'detached' });
  equal((await widget()).messenger.has_page_access_token, false, 'whether there is a token');
  await at('widget-guide').click();
  await at('widget-edit-keys').click();
  await at('widget-app-name').fill(`App ${run}`);
  await at('widget-token').fill('demo-page-token');
  await looks('keys', sue);
  await at('widget-save').click();
  await sue.locator('[data-testid=step-token][data-done=true]').waitFor();
  equal((await widget()).messenger.app_name, `App ${run}`, "the app's name");
});

await step('what came in can be looked through, and what was set aside applied again', async () => {
  const customer = await open('customer', { width: 420, height: 760 });
  await customer.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await customer.locator('#composer textarea').fill(`For the ledger ${run}`);
  await customer.locator('#send').click();
  await until(async () => (await api('GET', '/ledger?kind=message&state=applied')).items.length > 0, 'the message is applied');
  await at('setup-ledger').click();
  const item = sue.locator('[data-testid=row][data-state=applied]').filter({ hasText: 'message' }).first();
  await item.waitFor();
  await looks('ledger', sue);
  await item.getByTestId('ledger-show').click();
  await at('ledger-dialog').getByText(`For the ledger ${run}`).waitFor();
  await looks('ledger-item', sue);
  equal(await at('ledger-replay').count(), 0, 'what is applied needs no second time');
  await sue.keyboard.press('Escape');
  await at('ledger-dialog').waitFor({ state: 'detached' });
  // Something that no gateway of today knows, signed as Facebook would.
  await tells(sue, ANNA, [{ [`news_${run}`]: {} }]);
  await until(async () => (await api('GET', '/ledger?state=parked,ignored')).items.length > 0, 'it is set aside');
  const { state } = (await api('GET', '/ledger?state=parked,ignored')).items[0];
  await at('ledger-state').selectOption(state);
  await sue.locator(`[data-testid=row][data-state=${state}]`).first().getByTestId('ledger-show').click();
  await at('ledger-dialog').getByText(`news_${run}`).first().waitFor();
  await at('ledger-replay').click();
  await until(async () => (await api('GET', '/audit-log')).items.some((it) => it.action === 'ledger_item.replayed'), 'it was applied again');
  await sue.keyboard.press('Escape');
  await at('ledger-dialog').waitFor({ state: 'detached' });
  await at('ledger-sender').fill('1');
  await at('ledger-sender').press('Enter');
  await sue.getByText('Nothing found.').waitFor();
});

await step('who changed what can be read, in words', async () => {
  await at('setup-audit-log').click();
  await row('Queue: changed').first().waitFor();
  await row('Page: changed').first().waitFor();
  const known = await at('audit').getByRole('row').allTextContents();
  equal(known.filter((it) => /\w+\.\w+(?!@)/.test(it.replace(/[\d.:]+|\S+@\S+/g, ''))).join(' | '), '', 'changes without a word');
  await looks('audit-log', sue);
  await sue.setViewportSize({ width: 360, height: 740 });
  await sue.goto(new URL('/desk/setup/audit-log', CHATGATE_URL).href);
  await at('setup-audit-log').waitFor();
  await until(() => at('setup-audit-log').evaluate((it) => it.getBoundingClientRect().right < innerWidth + 8), 'the chosen section is in view on a phone');
  await sue.setViewportSize({ width: 1366, height: 820 });
});

await step('a long list goes on when asked', async () => {
  const [sales] = (await api('GET', '/queues')).items;
  for (let turn = 0; turn < 101; turn += 1) await api('PATCH', `/queues/${sales.id}`, { priority: 1 + (turn % 9) });
  await at('setup-queues').click();
  await at('setup-audit-log').click();
  await row('Queue: changed').first().waitFor();
  const rows = () => at('audit').getByRole('row').count();
  equal(await rows(), 101, 'entries at first, and the heading');
  await at('more').click();
  await until(async () => (await rows()) > 101, 'more entries');
});

await step("the board has today's figures", async () => {
  await at('tab-board').click();
  await sue.getByTestId('board-answered').filter({ hasText: '0' }).first().waitFor();
  await looks('board', sue);
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
