// One chat from both sides, in a real browser: the agent in the desk, the customer in the simulator's chat page.
//
//   CHATGATE_URL=http://127.0.0.1:8080 SIM_URL=http://127.0.0.1:8090 TENANT=acme EMAIL=… PASSWORD=… \
//   CUSTOMER_CHAT_URL=/chat/… SHOTS=/somewhere node walk.mjs
//
// CUSTOMER_CHAT_URL may be relative to SIM_URL. Optional: CHROMIUM (default /usr/bin/chromium), STEP_MS (default
// 15000, how long one thing may take to appear), CLOSING_TEXT (what the customer must read at the end).
// Ends with 0 when everything was there, 1 with one line at the first thing that was not, 2 for wrong usage.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const missing = ['CHATGATE_URL', 'SIM_URL', 'TENANT', 'EMAIL', 'PASSWORD', 'CUSTOMER_CHAT_URL', 'SHOTS'].filter((name) => !process.env[name]);
if (missing.length > 0) {
  console.error(`walk: these environment variables are missing: ${missing.join(', ')}`);
  process.exit(2);
}
const { CHATGATE_URL, SIM_URL, TENANT, EMAIL, PASSWORD, CUSTOMER_CHAT_URL, SHOTS, CLOSING_TEXT } = process.env;
const STEP_MS = Number(process.env.STEP_MS ?? 15_000);
const DELIVERED = ['sent', 'delivered', 'read'];

// Texts are new in every run, so that an earlier run against the same gateway cannot satisfy this one.
const run = Date.now().toString(36);
const question = `Is my order on its way? ${run}`;
const second = `It is number 4711. <b>${run}</b>`;
const reply = `It is, until Friday. ${run}`;

await mkdir(SHOTS, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const desk = await open({ width: 1366, height: 820 });
const customer = await open({ width: 420, height: 760 });
const faults = [];
desk.on('pageerror', (error) => faults.push(`script error: ${error.message}`));
desk.on('console', (line) => {
  // Pictures over plain http are refused on purpose and replaced by initials.
  if (line.type() === 'error' && /Content Security Policy/.test(line.text()) && !/img-src/.test(line.text())) faults.push(line.text());
});

const at = (id) => desk.getByTestId(id);
const message = (text) => at('message').filter({ hasText: text });
const bubble = (text) => customer.locator('.bubble').filter({ hasText: text });
const composer = () => customer.locator('#composer textarea').first();
let shots = 0;
let shared = null;
let bubblesBeforeClose = [];

await step('the desk asks for a login', async () => {
  await desk.goto(new URL(`/desk?tenant=${encodeURIComponent(TENANT)}&email=${encodeURIComponent(EMAIL)}`, CHATGATE_URL).href);
  await at('login-form').waitFor();
  equal(await at('login-tenant').inputValue(), TENANT, 'the prefilled tenant');
  equal(await at('login-email').inputValue(), EMAIL, 'the prefilled e-mail');
});

await step('a wrong password is refused with a sentence', async () => {
  await at('login-password').fill(`${PASSWORD}-wrong`);
  await at('login-submit').click();
  await at('login-error').waitFor();
  await shot('desk-login');
});

await step('the right password opens the desk, and events flow', async () => {
  await at('login-password').fill(PASSWORD);
  await at('login-submit').click();
  await at('desk').waitFor();
  await desk.locator('[data-testid=stream-state][data-state=live]').waitFor();
  truthy((await at('me-name').textContent())?.trim(), "the agent's name in the header");
});

await step('the agent goes ready', async () => {
  await at('status-ready').click();
  await desk.locator('[data-testid=status-ready][aria-pressed=true]').waitFor();
});

await step('the customer writes', async () => {
  await customer.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await says(question);
});

await step('the chat is offered with a countdown, and the agent accepts it', async () => {
  // Queues that accept by themselves make no offer.
  const offered = at('room-offered').first();
  await offered.or(at('room-active').first()).first().waitFor();
  if (await offered.isVisible()) {
    matches(await at('countdown').first().textContent(), /^\d+ s$/, 'the countdown');
    await shot('desk-offered');
    await offered.getByTestId('accept').click();
  } else {
    await at('room-active').first().getByTestId('room-open').click();
  }
  await at('room-active').first().waitFor();
  await message(question).first().waitFor();
});

await step('a second message arrives at once, as text and not as markup, and is announced', async () => {
  await says(second);
  await message(second).waitFor();
  await desk.waitForFunction((text) => document.querySelector('[data-testid=announce]').textContent.includes(text), second);
});

await step('the agent replies, the customer reads it, the desk shows it as sent', async () => {
  await at('composer').fill(reply);
  await at('composer').press('Enter');
  await bubble(reply).waitFor();
  await message(reply).waitFor();
  await until(async () => DELIVERED.includes(await message(reply).first().getAttribute('data-status')), `the reply in the desk has one of the states ${DELIVERED.join(', ')}`);
  equal(await at('composer').inputValue(), '', 'the composer after sending');
});

await step('a note stays inside', async () => {
  await at('note-toggle').click();
  await at('composer').fill(`only for us ${run}`);
  await at('composer').press('Enter');
  await desk.locator('[data-testid=message][data-direction=note]').filter({ hasText: `only for us ${run}` }).waitFor();
  equal(await bubble(`only for us ${run}`).count(), 0, 'notes the customer sees');
});

await step('the session and the chat survive a reload', async () => {
  await desk.reload();
  await at('room-active').first().waitFor();
  await message(reply).first().waitFor();
  await shot('desk-chat');
});

await step('the agent asks for the e-mail address and the customer taps the chip', async () => {
  await at('ask-email').click();
  await customer.locator('.chip').first().waitFor();
  await shot('customer-asked', customer);
  const address = customer.locator('.chip').filter({ hasText: '@' });
  const chip = (await address.count()) > 0 ? address.last() : customer.locator('.chip').last();
  const words = ((await chip.textContent()) ?? '').trim();
  shared = words.match(/[\w.+-]+@[\w.-]+/)?.[0] ?? null;
  await chip.click();
});

await step('the agent sees the shared address, in the transcript and at the contact', async () => {
  const value = desk.locator('[data-testid=shared-value][data-field=email]').last();
  await value.waitFor();
  const seen = ((await value.textContent()) ?? '').trim();
  matches(seen, /@/, 'the shared e-mail address');
  if (shared) equal(seen, shared, 'the shared e-mail address');
  await until(async () => (await at('contact-email').inputValue()) === seen, `the contact's e-mail field holds ${seen}`);
  await shot('desk-shared');
});

await step('a tag can be set', async () => {
  await at('tag-input').fill('walked');
  await at('tag-add').click();
  await at('tags').getByText('walked').waitFor();
});

await step('nothing is wider than a small phone', async () => {
  await desk.setViewportSize({ width: 360, height: 700 });
  const width = await desk.evaluate(() => document.documentElement.scrollWidth);
  truthy(width <= 360, `a page of at most 360 px (it has ${width})`);
  await shot('desk-narrow');
  await desk.setViewportSize({ width: 1366, height: 820 });
});

await step('the agent closes the chat', async () => {
  bubblesBeforeClose = await customer.locator('.bubble').allTextContents();
  await at('close-room').click();
  await at('close-confirm').click();
  await at('room-closed').first().waitFor();
  await at('close-dialog').waitFor({ state: 'hidden' });
  truthy(await at('send').isDisabled(), 'a disabled Send button in a closed chat');
  matches(await at('composer-reason').textContent(), /closed/, 'the sentence that the chat is closed');
  await shot('desk-closed');
});

await step('the customer reads the closing text', async () => {
  if (CLOSING_TEXT) await bubble(CLOSING_TEXT).last().waitFor();
  else await until(async () => (await customer.locator('.bubble').count()) > bubblesBeforeClose.length, 'one more bubble at the customer');
  await shot('customer-closed', customer);
});

await step('logging out ends the session', async () => {
  await at('logout').click();
  await at('login-form').waitFor();
  await desk.reload();
  await at('login-form').waitFor();
});

await step('the desk had no script errors and broke no content policy', async () => {
  equal(faults.join(' | '), '', 'faults');
});

await browser.close();
console.log('walk: everything was there');

// ---- Tools --------------------------------------------------------------------------------------------------

async function open(viewport) {
  const page = await (await browser.newContext({ viewport, locale: 'en-GB' })).newPage();
  page.setDefaultTimeout(STEP_MS);
  return page;
}

async function says(text) {
  await composer().fill(text);
  await customer.locator('#send').click();
  await bubble(text).first().waitFor();
}

async function shot(name, page = desk) {
  shots += 1;
  await page.screenshot({ path: join(SHOTS, `${String(shots).padStart(2, '0')}-${name}.png`) });
}

async function step(sentence, work) {
  try {
    await work();
    console.log(`ok      ${sentence}`);
  } catch (error) {
    await shot('missing-desk').catch(() => {});
    await shot('missing-customer', customer).catch(() => {});
    // The first line of Playwright's report says what it waited for; the line with the locator says where.
    const lines = error.message.replace(/\u001b\[\d+m/g, '').split('\n').map((line) => line.trim());
    const where = lines.find((line) => line.includes('waiting for')) ?? '';
    const said = [...faults, ...(await desk.locator('[role=alert]:visible, .toast:visible, .field-error:visible').allTextContents().catch(() => []))];
    console.error(`MISSING ${sentence}: ${[lines[0], where.replace(/^- /, '')].filter(Boolean).join(' ')}${said.length > 0 ? ` (the desk says: ${said.join(' | ')})` : ''}`);
    await browser.close();
    process.exit(1);
  }
}

async function until(holds, wanted) {
  const end = Date.now() + STEP_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`expected ${wanted}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

function equal(found, wanted, what) {
  if (found !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
}

function matches(found, pattern, what) {
  if (!pattern.test(found ?? '')) throw new Error(`${what}: expected ${pattern}, found ${JSON.stringify(found)}`);
}

function truthy(found, what) {
  if (!found) throw new Error(`expected ${what}`);
}
