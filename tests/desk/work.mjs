// A working day's smaller things: being called while one looks elsewhere, status with a reason, why somebody waits, long texts,
// drafts, a message of which nobody knows, a tag that is required.
//
// Environment and exit codes: see walk.mjs.

import { CHATGATE_URL, CUSTOMER_CHAT_URL, PASSWORD, SIM_URL, TENANT, api, end, equal, faults, findings, goReady, live, looks, matches, open, run, signIn, step, truthy, until, says as customerSays, writes as agentWrites } from './support.mjs';

const ben = await open('ben');
const anna = await open('anna', { width: 1366, height: 820 });
const emre = await open('emre', { width: 420, height: 760 });
let sue;
const at = (id, page = ben) => page.getByTestId(id);
const message = (text) => at('message').filter({ hasText: text });
const row = (name) => at('room-list').getByTestId('room-active').filter({ hasText: name });
const bubble = (text, page = anna) => page.locator('.bubble').filter({ hasText: text });
const says = (text, page = anna) => customerSays(page, text);
const writes = (text, page = ben) => agentWrites(page, text);

// A browser whose window is behind another one, and that tells what it was asked to show and to play.
await ben.addInitScript(() => {
  globalThis.shown = [];
  globalThis.asked = 0;
  globalThis.tones = 0;
  document.hasFocus = () => false;
  const permission = sessionStorage.getItem('permission') ?? 'default';
  globalThis.Notification = class {
    static permission = permission;
    static async requestPermission() {
      globalThis.asked += 1;
      sessionStorage.setItem('permission', 'granted');
      return (this.permission = 'granted');
    }
    constructor(title, { body }) {
      globalThis.shown.push(`${title}: ${body}`);
    }
  };
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...when) {
    globalThis.tones += 1;
    return start.apply(this, when);
  };
});

await step('notifications are asked for once', async () => {
  await ben.goto(new URL(`/desk?tenant=${TENANT}&email=ben@demo.test`, CHATGATE_URL).href);
  await at('login-password').fill(PASSWORD);
  await at('login-submit').click();
  await at('desk').waitFor();
  await live(ben);
  await ben.getByRole('button', { name: 'Yes, ask the browser' }).click();
  await until(() => ben.evaluate(() => globalThis.asked === 1), 'the browser is asked');
  await ben.reload();
  await live(ben);
  equal(await ben.getByRole('button', { name: 'Yes, ask the browser' }).count(), 0, 'whether it is asked again');
});

await step('away has a reason, chosen or written, which the board shows', async () => {
  sue = await signIn('sue', 'sue@demo.test');
  await at('tab-board', sue).click();
  const mine = at('board-agent', sue).filter({ hasText: 'Ben' });
  await at('status-menu').click();
  await at('status-away').first().click();
  await sue.locator('[data-testid=board-agent][data-status=away]').filter({ hasText: 'Ben' }).waitFor();
  await at('status-menu').click();
  await at('away-reason').fill(`Dentist ${run}`);
  await at('away-set').click();
  await mine.getByText(`Dentist ${run}`).waitFor();
  await looks('away', ben);
  await at('status-menu').click();
  await at('status-offline').click();
  await sue.locator('[data-testid=board-agent][data-status=offline]').filter({ hasText: 'Ben' }).waitFor();
});

await step('the board tells why a customer waits, and what happened so far', async () => {
  await anna.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await says(`Is anybody there? ${run}`);
  await at('board-room', sue).filter({ hasText: 'Anna' }).getByTestId('why').click();
  matches(await at('why-waits', sue).textContent(), /^Waits: nobody in Sales is free/, 'why');
  await at('why-story', sue).getByText('Entered Sales.').waitFor();
  await looks('why', sue);
  await sue.keyboard.press('Escape');
  await at('why-dialog', sue).waitFor({ state: 'detached' });
});

await step('a chat calls whoever looks elsewhere: by sound, in the title, by the browser', async () => {
  await goReady(ben);
  await at('room-offered').waitFor();
  await until(() => ben.evaluate(() => globalThis.tones >= 2), 'the sound');
  await until(async () => (await ben.title()).startsWith('●'), 'the mark in the title');
  await until(() => ben.evaluate(() => globalThis.shown.some((it) => it.includes('Anna Bell'))), 'the notification');
  await ben.keyboard.press('Alt+a');
  await message(`Is anybody there? ${run}`).waitFor();
  await says(`Hello? ${run}`);
  await until(() => ben.evaluate((text) => globalThis.shown.some((it) => it.includes(text)), `Hello? ${run}`), 'the notification of the message');
  await until(async () => /^\(\d+\) Chatgate$/.test(await ben.title()), 'the count in the title');
});

await step('the list says how long somebody waits, what is unread, and until when one may answer', async () => {
  await row('Anna').getByTitle('Waiting for an answer').waitFor();
  matches(await row('Anna').getByTestId('window').textContent(), /^(1 d|23 h \d+ min) to answer$/, 'the countdown of the window');
  equal(await row('Anna').locator('.unread').textContent(), '2', 'what is unread');
  await writes(`Here I am ${run}`);
  await bubble(`Here I am ${run}`).waitFor();
  await row('Anna').locator('.unread').waitFor({ state: 'detached' });
  await row('Anna').getByTitle('Waiting for an answer').waitFor({ state: 'detached' });
});

await step('an emoji goes where the cursor is, and a long text says what becomes of it', async () => {
  await at('composer').fill('ab');
  await ben.keyboard.press('ArrowLeft');
  await at('emoji').click();
  await ben.getByRole('button', { name: '😀', exact: true }).click();
  equal(await at('composer').inputValue(), 'a😀b', 'the text');
  equal(await at('counter').count(), 0, 'counters at a short text');
  await at('composer').fill('x'.repeat(1900));
  matches(await at('counter').textContent(), /1,?900/, 'the counter');
  await at('composer').fill(`${'word '.repeat(420)}${run}`);
  matches(await at('counter').textContent(), /2/, 'how many messages it becomes');
  await looks('long-text', ben);
  await at('composer').press('Enter');
  await bubble(run).last().waitFor();
  await until(async () => (await bubble('word word').count()) === 2, 'two messages at the customer');
});

await step('each chat keeps its own draft', async () => {
  await emre.goto(new URL(CUSTOMER_CHAT_URL.replace(/\d$/, '1'), SIM_URL).href);
  await says(`Emre here ${run}`, emre);
  await at('composer').fill(`for Anna ${run}`);
  await at('room-offered').waitFor();
  await at('accept').click();
  await at('chat-name').filter({ hasText: 'Emre' }).waitFor();
  equal(await at('composer').inputValue(), '', "Emre's draft");
  await at('composer').fill(`for Emre ${run}`);
  await row('Anna').getByText(`for Anna ${run}`).waitFor();
  await row('Anna').click();
  await at('chat-name').filter({ hasText: 'Anna' }).waitFor();
  equal(await at('composer').inputValue(), `for Anna ${run}`, "Anna's draft");
  await ben.reload();
  await row('Emre').click();
  await at('chat-name').filter({ hasText: 'Emre' }).waitFor();
  equal(await at('composer').inputValue(), `for Emre ${run}`, "Emre's draft after a reload");
  await at('composer').fill('');
});

await step('a message of which nobody knows says so, and is sent again once', async () => {
  await row('Anna').click();
  await at('chat-name').filter({ hasText: 'Anna' }).waitFor();
  await anna.locator('details[data-key^=faults] summary').click();
  await anna.getByRole('button', { name: 'Hide conversations' }).click();
  await anna.getByRole('button', { name: 'Lose next send' }).click();
  await anna.locator('.badge').filter({ hasText: '1 fault waiting' }).waitFor();
  await writes(`Lost on its way ${run}`);
  const lost = ben.locator('[data-testid=message][data-status=uncertain]').filter({ hasText: `Lost on its way ${run}` });
  await lost.getByTestId('trouble').waitFor();
  equal(await bubble(`Lost on its way ${run}`).count(), 0, 'what the customer has of it');
  await looks('uncertain', ben);
  await lost.getByTestId('send-again').click();
  await bubble(`Lost on its way ${run}`).waitFor();
  await lost.getByTestId('send-again').waitFor({ state: 'detached' });
  equal(await bubble(`Lost on its way ${run}`).count(), 1, 'how often the customer has it');
});

await step('a chat whose Page requires a tag is not closed without one', async () => {
  const [widget] = (await api(sue, 'GET', '/widgets')).items;
  await api(sue, 'PATCH', `/widgets/${widget.id}`, { tags: { offered: ['sales', 'order'], required: true } });
  await ben.reload();
  await at('close-room').click();
  await at('tag-needed').waitFor();
  truthy(await at('close-confirm').isDisabled(), 'nothing is closed without a tag');
  await looks('tag-needed', ben);
  await at('close-dialog').getByRole('button', { name: 'order' }).click();
  await at('close-note').fill(`Paid by card ${run}`);
  await at('close-confirm').click();
  await at('close-dialog').waitFor({ state: 'detached' });
  await message(`Paid by card ${run}`).waitFor();
  await at('room-closed').filter({ hasText: 'Anna' }).waitFor();
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
