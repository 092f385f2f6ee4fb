// What the walks share: a browser, steps that say what is missing, pictures, accessibility.

import { createHmac } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const missing = ['CHATGATE_URL', 'SIM_URL', 'TENANT', 'PASSWORD', 'CUSTOMER_CHAT_URL', 'SHOTS'].filter((name) => !process.env[name]);
if (missing.length > 0) {
  console.error(`walk: these environment variables are missing: ${missing.join(', ')}`);
  process.exit(2);
}
export const { CHATGATE_URL, SIM_URL, TENANT, PASSWORD, CUSTOMER_CHAT_URL, SHOTS, CLOSING_TEXT } = process.env;
/** How long one thing may take to appear. */
export const STEP_MS = Number(process.env.STEP_MS ?? 30_000);
/** Texts are new in every run, so that an earlier run against the same gateway cannot satisfy this one. */
export const run = Date.now().toString(36);

await mkdir(SHOTS, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
/** What went wrong in any page without being looked for. */
export const faults = [];
/** What axe found, and what was too wide: told together at the end. */
export const findings = [];
const pages = [];

/** A browser of its own, with one page. */
export async function open(name, viewport = { width: 1366, height: 820 }) {
  const page = await (await browser.newContext({ viewport, locale: 'en-GB', timezoneId: 'Europe/Istanbul', reducedMotion: 'reduce' })).newPage();
  page.setDefaultTimeout(STEP_MS);
  page.on('pageerror', (error) => faults.push(`${name}: script error: ${error.message}`));
  page.on('console', (line) => {
    // Pictures over plain http are refused on purpose and replaced by initials.
    if (/Content Security Policy/.test(line.text()) && !/img-src/.test(line.text())) faults.push(`${name}: ${line.text()}`);
  });
  page.on('dialog', (dialog) => {
    faults.push(`${name}: a dialog says ${dialog.message()}`);
    void dialog.dismiss();
  });
  pages.push([name, page]);
  return page;
}

/** What the signed-in person's API answers. */
export async function api(page, method, path, body) {
  const answer = await page.context().request.fetch(new URL(`/api/v1${path}`, CHATGATE_URL).href, { method, data: body });
  truthy(answer.ok(), `${method} ${path} (${answer.status()} ${await answer.text()})`);
  return answer.status() === 204 ? null : answer.json();
}

/** The demo's Page, its first customer and its app's secret. */
const PAGE = '100200300400500';
export const ANNA = '7100200300400500';
const SECRET = 'demo-app-secret-demo-app-secret-00';

/** Brings events of a person, signed as Facebook would; an admin knows where to. */
export async function tells(admin, psid, events) {
  const messaging = events.map((it) => ({ sender: { id: psid }, recipient: { id: PAGE }, timestamp: Date.now(), ...it }));
  const body = JSON.stringify({ object: 'page', entry: [{ id: PAGE, time: Date.now(), messaging }] });
  const { callback_url } = await api(admin, 'GET', `/widgets/${(await api(admin, 'GET', '/widgets')).items[0].id}/callback`);
  const signature = createHmac('sha256', SECRET).update(body).digest('hex');
  const took = await admin.context().request.post(callback_url, { headers: { 'content-type': 'application/json', 'x-hub-signature-256': `sha256=${signature}` }, data: Buffer.from(body) });
  truthy(took.ok(), `the delivery is taken (${took.status()})`);
}

/** A person at the desk, signed in. */
export async function signIn(name, email) {
  const page = await open(name);
  await page.goto(new URL(`/desk?tenant=${encodeURIComponent(TENANT)}&email=${encodeURIComponent(email)}`, CHATGATE_URL).href);
  await page.getByTestId('login-password').fill(PASSWORD);
  await page.getByTestId('login-submit').click();
  await page.getByTestId('desk').waitFor();
  await live(page);
  return page;
}

/** The customer writes, and sees it. */
export async function says(page, text) {
  await page.locator('#text').fill(text);
  await page.locator('#text').press('Enter');
  await page.locator('.bubble').filter({ hasText: text }).first().waitFor();
}

/** The agent writes. */
export async function writes(page, text) {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('composer').press('Enter');
}

export const live = (page) => page.locator('[data-testid=stream-state][data-state=live]').waitFor({ state: 'attached' });

export async function goReady(page) {
  await page.getByTestId('status-menu').click();
  await page.getByTestId('status-ready').click();
  await page.locator('[data-testid=status][data-status=ready]').waitFor();
}

let shots = 0;
export async function shot(name, page) {
  shots += 1;
  await page.screenshot({ path: join(SHOTS, `${String(shots).padStart(2, '0')}-${name}.png`) });
}

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };

/** Runs in the page: what stands outside the screen, or is wider than its box, without a way to scroll there. */
function outside() {
  const found = [];
  const room = document.documentElement;
  if (room.scrollWidth > innerWidth) found.push(`the page, ${room.scrollWidth} px wide`);
  const may = (it) => it && it !== document.body && (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(it).overflowX) || may(it.parentElement));
  for (const it of document.body.querySelectorAll('*')) {
    const box = it.getBoundingClientRect();
    if (box.width < 2 || box.height < 2 || !it.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || it.closest('.unseen, .skip')) continue;
    const words = `${it.localName}.${[...it.classList].filter((name) => !name.startsWith('svelte-')).join('.')} ${it.textContent.trim().slice(0, 30)}`;
    if ((box.right > innerWidth + 1 || box.left < -1) && !may(it.parentElement)) found.push(words);
    else if (it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 0 && getComputedStyle(it).overflowX === 'visible' && it.matches('button, .bubble, .pill, label, h1, h2, dd, .notice, .button')) found.push(`${words} (cut)`);
  }
  return found.slice(0, 4);
}

/** Light, dark and narrow: a picture of each; what axe finds goes to `findings`. */
export async function looks(name, page) {
  const size = page.viewportSize();
  for (const [look, change] of [
    ['light', () => page.emulateMedia({ colorScheme: 'light' })],
    ['dark', () => page.emulateMedia({ colorScheme: 'dark' })],
    ['narrow', () => page.setViewportSize({ width: 360, height: 740 })],
  ]) {
    await change();
    // Two frames to draw, and a moment for the browser to paint what changed its colour.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60)))));
    await shot(`${name}-${look}`, page);
    // Through the debugger, so that the page's content policy may stay as strict as it is.
    await page.evaluate(axe);
    const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, rules), RULES);
    const found = violations.map((it) => `${it.id} (${it.nodes.map((node) => node.target.join(' ')).slice(0, 3).join('; ')})`);
    if (found.length > 0) findings.push(`${name}, ${look}: ${found.join(', ')}`);
    const out = await page.evaluate(outside);
    if (out.length > 0) findings.push(`${name}, ${look}: outside the screen or their own box: ${out.join('; ')}`);
  }
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: 'light' });
}

export async function step(sentence, work) {
  const began = Date.now();
  try {
    await work();
    console.log(`ok      ${sentence} (${Date.now() - began} ms)`);
  } catch (error) {
    const said = [...faults];
    for (const [name, page] of pages) {
      await shot(`missing-${name}`, page).catch(() => {});
      said.push(...(await page.locator('[role=alert]:visible, .toast:visible, .error:visible').allTextContents().catch(() => [])));
    }
    // The first line of Playwright's report says what it waited for; the line with the locator says where.
    const lines = error.message.replace(/\u001b\[\d+m/g, '').split('\n').map((line) => line.trim());
    const where = lines.find((line) => line.includes('waiting for')) ?? '';
    console.error(`MISSING ${sentence}: ${[lines[0], where.replace(/^- /, '')].filter(Boolean).join(' ')}${said.length > 0 ? ` (said: ${said.join(' | ')})` : ''}`);
    await browser.close();
    process.exit(1);
  }
}

export async function end() {
  await browser.close();
  console.log('walk: everything was there');
}

export async function until(holds, wanted) {
  const end = Date.now() + STEP_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`expected ${wanted}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

export function equal(found, wanted, what) {
  if (found !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
}

export function matches(found, pattern, what) {
  if (!pattern.test(found ?? '')) throw new Error(`${what}: expected ${pattern}, found ${JSON.stringify(found)}`);
}

export function truthy(found, what) {
  if (!found) throw new Error(`expected ${what}`);
}
