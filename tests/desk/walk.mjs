// The desk from all sides, in a real browser: agents, a supervisor, an admin, and customers in the simulator's chat page.
//
//   CHATGATE_URL=http://127.0.0.1:8080 SIM_URL=http://127.0.0.1:8081 TENANT=demo PASSWORD=… \
//   CUSTOMER_CHAT_URL=/chat/… SHOTS=/somewhere node walk.mjs
//
// Wants the demo's people: sue@, ben@ and cleo@demo.test. CUSTOMER_CHAT_URL may be relative to SIM_URL. Optional: CHROMIUM
// (default /usr/bin/chromium), STEP_MS (default 30000), CLOSING_TEXT (what the customer must read at the end).
// Ends with 0 when everything was there, 1 with one line at the first thing that was not, 2 for wrong usage.

import { CHATGATE_URL, CLOSING_TEXT, CUSTOMER_CHAT_URL, PASSWORD, SIM_URL, TENANT, api, end, equal, faults, findings, goReady, live, looks, matches, open, run, shot, signIn, step, tells, truthy, until, says as customerSays, writes as agentWrites } from './support.mjs';

const DELIVERED = ['sent', 'delivered', 'read'];
const question = `Is my order on its way? ${run}`;
const second = `It is number 4711. <b>${run}</b>`;
const reply = `It is, until Friday. ${run}`;

const desk = await open('ben');
const customer = await open('customer', { width: 420, height: 760 });
const at = (id, page = desk) => page.getByTestId(id);
const message = (text, page = desk) => at('message', page).filter({ hasText: text });
const bubble = (text, page = customer) => page.locator('.bubble').filter({ hasText: text });
let cleo;
let sue;

const says = (text, page = customer) => customerSays(page, text);

const writes = (text, page = desk) => agentWrites(page, text);

// ---- Signing in ----------------------------------------------------------------------------------------------

await step('the first page is small: less than 150 KB on the wire', async () => {
  let bytes = 0;
  const session = await desk.context().newCDPSession(desk);
  await session.send('Network.enable');
  session.on('Network.loadingFinished', (it) => (bytes += it.encodedDataLength));
  await desk.goto(new URL(`/desk?tenant=${encodeURIComponent(TENANT)}&email=ben@demo.test`, CHATGATE_URL).href);
  await at('login-form').waitFor();
  await desk.waitForLoadState('networkidle');
  truthy(bytes > 20_000 && bytes < 150_000, `between 20 and 150 KB (there were ${bytes} bytes)`);
  console.log(`        ${bytes} bytes`);
  await session.detach();
});

await step('files are kept by the browser, the page is not, and only files of our own may run', async () => {
  const { request } = desk.context();
  const page = await request.get(new URL('/desk/chats/of/any/depth', CHATGATE_URL).href);
  equal(page.headers()['cache-control'], 'no-cache', "the page's cache life");
  const policy = page.headers()['content-security-policy'];
  truthy(policy.includes("default-src 'none'") && policy.includes("script-src 'self'") && !policy.includes('unsafe'), `a strict policy (${policy})`);
  const file = (await page.text()).match(/\/desk\/assets\/[^"]+\.js/)[0];
  const script = await request.get(new URL(file, CHATGATE_URL).href);
  matches(script.headers()['cache-control'], /immutable/, "a file's cache life");
  equal(script.headers()['content-encoding'], 'gzip', "a file's encoding");
  equal((await request.get(new URL('/desk/assets/none.js', CHATGATE_URL).href)).status(), 404, 'a file that is not there');
});

await step('the desk asks for a login, and a wrong password is refused with a sentence', async () => {
  equal(await at('login-tenant').inputValue(), TENANT, 'the prefilled tenant');
  equal(await at('login-email').inputValue(), 'ben@demo.test', 'the prefilled e-mail');
  await looks('sign-in', desk);
  await at('login-password').fill(`${PASSWORD}-wrong`);
  await at('login-submit').click();
  await at('login-error').waitFor();
});

await step('the right password opens the desk, events flow, the agent goes ready', async () => {
  await at('login-password').fill(PASSWORD);
  await at('login-submit').click();
  await at('desk').waitFor();
  await live(desk);
  await goReady(desk);
});

// ---- A whole conversation ------------------------------------------------------------------------------------

await step('the customer writes; the chat rings with a countdown and is accepted by key', async () => {
  await customer.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await says(question);
  await at('room-offered').waitFor();
  matches(await at('countdown').textContent(), /^\d+ s$/, 'the countdown');
  await looks('offer', desk);
  await desk.keyboard.press('Alt+a');
  await at('conversation').waitFor();
  await message(question).waitFor();
});

await step('a second message arrives at once, as text and not as markup, and is announced', async () => {
  await says(second);
  await message(second).waitFor();
  await desk.waitForFunction((text) => document.querySelector('[data-testid=announce]').textContent.includes(text), second);
});

await step('the agent replies, the customer reads it, the desk shows how far it has come', async () => {
  await writes(reply);
  await bubble(reply).waitFor();
  await until(async () => DELIVERED.includes(await message(reply).first().getAttribute('data-status')), `the reply in the desk has one of the states ${DELIVERED.join(', ')}`);
  equal(await message(reply).count(), 1, 'how often the reply stands there');
  equal(await at('composer').inputValue(), '', 'the composer after sending');
});

await step('a note stays inside', async () => {
  await at('note-toggle').click();
  await writes(`only for us ${run}`);
  await desk.locator('[data-testid=message][data-direction=note]').filter({ hasText: `only for us ${run}` }).waitFor();
  equal(await bubble(`only for us ${run}`).count(), 0, 'notes the customer sees');
});

for (const [field, value] of [['email', /@/], ['phone', /^\+?\d+/]]) {
  await step(`the agent asks for the ${field}, the customer taps the chip, the desk knows it`, async () => {
    await at(`ask-${field}`).click();
    await customer.locator('.chip').first().waitFor();
    await customer.locator('.chip').last().click();
    const shared = desk.locator(`[data-testid=shared-value][data-field=${field}]`).last();
    await shared.waitFor();
    const seen = (await shared.textContent()).trim();
    matches(seen, value, `the shared ${field}`);
    await until(async () => (await at(`contact-${field}`).inputValue()) === seen, `the contact's ${field} field holds ${seen}`);
  });
}

await step('buttons and cards are sent as the customer sees them', async () => {
  await at('templates').click();
  await at('template-quick-replies').click();
  await at('template-text').fill(`Which one? ${run}`);
  await at('template-title').fill('<i>Red</i>');
  await at('template-send').click();
  const chip = customer.locator('.chip').filter({ hasText: '<i>Red</i>' });
  await chip.waitFor();
  await chip.click();
  await desk.locator('[data-testid=message][data-direction=inbound]').filter({ hasText: '<i>Red</i>' }).waitFor();
  await at('templates').click();
  await at('template-carousel').click();
  await at('template-title').first().fill(`A card <b>${run}</b>`);
  await at('template-subtitle').first().fill('with a line below');
  await at('template-send').click();
  await customer.locator('.card').filter({ hasText: `A card <b>${run}</b>` }).waitFor();
  await until(async () => DELIVERED.includes(await message(`A card <b>${run}</b>`).first().getAttribute('data-status')), 'the cards have left');
});

const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64');

/** Pastes a file into the composer, or drops it somewhere in the window, as the browser would tell of it. */
function hands(how, name, type, bytes) {
  return desk.evaluate(([how, name, type, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(bytes)], name, { type }));
    const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
    if (how === 'paste') return document.querySelector('[data-testid=composer]').dispatchEvent(new ClipboardEvent('paste', options));
    const over = new DragEvent('dragover', options);
    document.querySelector('[data-testid=transcript]').dispatchEvent(over);
    return document.querySelector('[data-testid=transcript]').dispatchEvent(new DragEvent('drop', options));
  }, [how, name, type, [...bytes]]);
}

await step('files are pasted, dropped and picked; what is refused says why; what was taken out is not sent', async () => {
  const upload = (name) => at('upload').filter({ hasText: name });
  // Held up, so that one sees it come.
  let letGo;
  const held = new Promise((done) => (letGo = done));
  await desk.route('**/attachments', async (route) => (await held, route.continue()), { times: 1 });
  equal(await hands('paste', 'lamp.png', 'image/png', PNG), false, 'the paste is not also the browser’s');
  await desk.locator('[data-testid=upload][data-state=uploading]').waitFor();
  await at('composer').fill(`Here is the lamp ${run}`);
  truthy(await at('send').isDisabled(), 'nothing is sent while a file is on its way');
  letGo();
  await desk.locator('[data-testid=upload][data-state=ready]').waitFor();
  equal(await hands('drop', 'chair.png', 'image/png', PNG), false, 'the drop does not replace the desk');
  await at('attach-input').setInputFiles([
    { name: 'empty.txt', mimeType: 'text/plain', buffer: Buffer.alloc(0) },
    { name: 'prices.txt', mimeType: 'text/plain', buffer: Buffer.from('A lamp: 10') },
  ]);
  matches(await upload('empty.txt').getByTestId('upload-error').textContent(), /is empty/, "the gateway's words");
  truthy(await at('send').isDisabled(), 'nothing is sent while a file is refused');
  await looks('files', desk);
  await upload('empty.txt').getByTestId('upload-remove').click();
  await upload('chair.png').getByTestId('upload-remove').click();
  await until(async () => (await desk.locator('[data-testid=upload][data-state=ready]').count()) === 2, 'two files are ready');
  await at('composer').press('Enter');
  await message(`Here is the lamp ${run}`).waitFor();
  await customer.locator('img.media').first().waitFor();
  await customer.locator('a[href$="/prices.txt"]').waitFor();
  equal(await customer.locator('img.media').count(), 1, 'pictures the customer sees; one was taken out');
  await desk.locator('[data-testid=message][data-direction=outbound] [data-testid=attachment][data-type=image]').waitFor();
  equal(await at('upload').count(), 0, 'files in the composer after sending');
});

await step('a picture of the customer comes from the gateway, not from Facebook', async () => {
  await customer.locator('#file').setInputFiles({ name: 'my-lamp.png', mimeType: 'image/png', buffer: PNG });
  const picture = desk.locator('[data-testid=message][data-direction=inbound] [data-testid=attachment][data-type=image] img');
  await picture.waitFor();
  truthy((await picture.getAttribute('src')).startsWith(new URL('/media/', CHATGATE_URL).href), 'an address of the gateway');
  await until(() => picture.evaluate((it) => it.complete && it.naturalWidth > 0), 'the picture is drawn');
});

await step('the agent answers one message and reacts to another', async () => {
  await says(`Two things: one ${run}`);
  await says(`and two ${run}`);
  await message(`one ${run}`).hover();
  await message(`one ${run}`).getByTestId('answer').click();
  matches(await at('answering').textContent(), new RegExp(`one ${run}`), 'what is answered');
  await looks('answering', desk);
  await at('composer').press('Escape');
  equal(await at('answering').count(), 0, 'Escape lets it be');
  await message(`one ${run}`).getByTestId('answer').click();
  await writes(`First the first ${run}`);
  await message(`First the first ${run}`).getByText(`one ${run}`).waitFor();
  equal(await at('answering').count(), 0, 'what is answered after sending');
  const two = message(`and two ${run}`);
  await two.hover();
  await two.getByTestId('react').click();
  await two.getByRole('button', { name: '👍' }).click();
  await two.getByTestId('reactions').getByText('👍').waitFor();
  await customer.locator('[data-reaction="👍"]').waitFor();
  await two.hover();
  await two.getByTestId('react').click();
  await shot('reacting', desk);
  await two.getByRole('button', { name: '👍' }).click();
  await customer.locator('[data-reaction="👍"]').waitFor({ state: 'detached' });
  await until(async () => (await two.getByTestId('reactions').count()) === 0, 'the reaction is gone');
});

await step('a reload loses nothing: neither session, chat nor what was being typed', async () => {
  await at('composer').fill(`half a sentence ${run}`);
  await desk.reload();
  // Only what is in view is in the page: the newest.
  await message(`First the first ${run}`).first().waitFor();
  equal(await at('composer').inputValue(), `half a sentence ${run}`, 'the draft');
  await at('composer').fill('');
  await looks('chat', desk);
});

await step('a tag is set and a contact corrected', async () => {
  await at('details').getByRole('button', { name: 'order', exact: true }).click();
  await at('details').locator('[aria-pressed=true]').filter({ hasText: 'order' }).waitFor();
  await at('contact-phone').fill('+12025550199');
  await at('contact-save').click();
  await at('contact-save').waitFor({ state: 'hidden' });
  await at('details').getByText('entered by Ben').waitFor();
  equal(await at('details').getByText('shared by the customer').count(), 1, 'what the customer shared themselves');
});

// ---- A lost line, a lost session -----------------------------------------------------------------------------

await step('a lost connection is shown, heals without a gap, and nothing typed is lost or sent twice', async () => {
  await desk.context().setOffline(true);
  await desk.locator('[data-testid=stream-state][data-state=down]').waitFor({ state: 'attached' });
  const [missed, offline] = [`Said while you were gone ${run}`, `Written without a line ${run}`];
  await says(missed);
  await writes(offline);
  await desk.locator('[data-testid=pending][data-state=waiting]').waitFor();
  await shot('offline', desk);
  await desk.context().setOffline(false);
  await live(desk);
  await message(missed).waitFor();
  // It had not seen what was said meanwhile, so a person decides.
  await at('send-anyway').click();
  await bubble(offline).waitFor();
  await until(async () => DELIVERED.includes(await message(offline).first().getAttribute('data-status')), 'the reply has left');
  equal(await message(offline).count(), 1, 'how often the reply stands there');
  equal(await bubble(offline).count(), 1, 'how often the customer has it');
});

await step('the end of a session asks for the password above the desk; what is typed stays, what was on its way goes out', async () => {
  // Held up until the next text is typed; what says that somebody types would find out first.
  let letGo;
  const held = new Promise((done) => (letGo = done));
  await desk.route('**/typing', (route) => route.abort());
  await desk.route('**/api/v1/rooms/*/messages', async (route) => (await held, route.continue()), { times: 1 });
  await writes(`on its way ${run}`);
  await at('composer').fill(`typed before ${run}`);
  await desk.context().clearCookies();
  letGo();
  await at('session-ended').waitFor();
  await desk.unroute('**/typing');
  // Two Escapes close other dialogs in any browser; without a session there is nothing behind this one.
  for (let turn = 0; turn < 3; turn += 1) await desk.keyboard.press('Escape');
  await at('login-password').waitFor();
  await looks('session-ended', desk);
  await at('login-password').fill(PASSWORD);
  await at('login-submit').click();
  await at('session-ended').waitFor({ state: 'detached' });
  equal(await at('composer').inputValue(), `typed before ${run}`, 'the text typed before');
  await bubble(`on its way ${run}`).waitFor();
  equal(await bubble(`on its way ${run}`).count(), 1, 'how often the customer has what was on its way');
  await at('composer').fill('');
  await says(`After the session ${run}`);
  await message(`After the session ${run}`).waitFor();
});

// ---- An admin ------------------------------------------------------------------------------------------------

await step('the admin writes a canned answer, hours, a queue, a person and a key', async () => {
  sue = await signIn('sue', 'sue@demo.test');
  await at('tab-setup', sue).click();
  await at('setup-canned-answers', sue).click();
  await at('add', sue).click();
  await at('canned-shortcut', sue).fill(`hours-${run}`);
  await at('canned-text', sue).fill('We are open from nine to six, {first_name}. <script>hacked()</script>');
  await at('save', sue).click();
  await sue.getByText(`/hours-${run}`).waitFor();
  await looks('setup-canned-answers', sue);

  await at('setup-working-hours', sue).click();
  await at('add', sue).click();
  await at('hours-name', sue).fill(`Office ${run}`);
  await looks('setup-hours-form', sue);
  await at('save', sue).click();
  await at('probe-answer', sue).locator('.pill').last().waitFor();
  await looks('setup-working-hours', sue);

  await at('setup-queues', sue).click();
  await at('add', sue).click();
  await at('queue-name', sue).fill(`<b>Queue</b> ${run}`);
  await looks('setup-queue-form', sue);
  await at('save', sue).click();
  await at('form-dialog', sue).waitFor({ state: 'detached' });
  await sue.getByText(`<b>Queue</b> ${run}`).waitFor();
  await at('members', sue).last().click();
  await at('member', sue).last().check();
  await shot('members', sue);
  await at('members-dialog', sue).getByRole('button', { name: 'Done' }).click();
  await looks('setup-queues', sue);

  await at('setup-users', sue).click();
  await at('add', sue).click();
  await at('user-name', sue).fill(`Dana "><img src=x onerror=alert(1)> ${run}`);
  await at('user-email', sue).fill('not an address');
  await at('user-password', sue).fill('long enough password');
  await looks('setup-user-form', sue);
  await at('user-email', sue).fill(`dana-${run}@demo.test`);
  await at('save', sue).click();
  await sue.getByText(`dana-${run}@demo.test`).waitFor();
  await looks('setup-users', sue);

  await at('setup-api-keys', sue).click();
  await at('add', sue).click();
  await at('key-name', sue).fill(`CRM ${run}`);
  await at('save', sue).click();
  matches(await at('key-value', sue).inputValue(), /^cgk_/, 'the new key');
  await at('key-made', sue).getByRole('button', { name: 'Done' }).click();
  await looks('setup-api-keys', sue);
  await at('setup-incoming-chats', sue).click();
  await sue.getByRole('cell', { name: 'Acme page → Sales' }).waitFor();
  await looks('setup-incoming-chats', sue);
});

await step('the set-up guide ticks off what Facebook does, while one looks', async () => {
  await at('setup-widgets', sue).click();
  await looks('setup-widgets', sue);
  await at('widget', sue).first().click();
  for (const name of ['step-token', 'step-callback', 'step-subscribe', 'step-event']) await sue.locator(`[data-testid=${name}][data-done=true]`).waitFor();
  matches(await at('callback-url', sue).inputValue(), /\/webhooks\/messenger\//, 'the callback URL');
  const before = await at('verify-token', sue).inputValue();
  await sue.getByRole('button', { name: 'Make a new verify token' }).click();
  await sue.locator('[data-testid=step-callback][data-done=false]').waitFor();
  truthy((await at('verify-token', sue).inputValue()) !== before, 'a new verify token');
  await looks('setup-guide', sue);
  // Somebody else lets Facebook verify; the check mark must come by itself.
  const id = sue.url().split('/').pop();
  const answer = await sue.context().request.post(new URL(`/api/v1/widgets/${id}/subscribe`, CHATGATE_URL).href);
  truthy(answer.ok(), `a subscription (${answer.status()})`);
  await sue.locator('[data-testid=step-callback][data-done=true]').waitFor();
  await at('widget-settings', sue).click();
  await looks('setup-widget-texts', sue);
  await at('widget-health', sue).click();
  await at('check-now', sue).click();
  await sue.locator('[data-testid=health][data-state=ok]').first().waitFor();
  await looks('setup-widget-health', sue);
});

await step('the agent inserts the canned answer by slash and Enter', async () => {
  await at('composer').fill(`/hours-${run}`);
  await at('canned-list').getByText(`/hours-${run}`).waitFor();
  await shot('canned', desk);
  await at('composer').press('Enter');
  matches(await at('composer').inputValue(), /^We are open from nine to six, \w+\. <script>/, 'the text with the first name in it');
  await at('composer').press('Enter');
  await bubble('We are open from nine to six').waitFor();
});

// ---- Two agents, a supervisor --------------------------------------------------------------------------------

await step('two agents at once: the chat goes over with a note, and both see it at once', async () => {
  cleo = await signIn('cleo', 'cleo@demo.test');
  await goReady(cleo);
  await at('transfer-open').click();
  const option = at('transfer-target').locator('option').filter({ hasText: 'Cleo' });
  await at('transfer-target').selectOption(await option.getAttribute('value'));
  await at('transfer-note').fill(`Please take over ${run}`);
  await at('transfer').click();
  await at('room-offered', cleo).waitFor();
  await at('accept', cleo).click();
  await message(`Please take over ${run}`, cleo).waitFor();
  await at('composer-reason').waitFor();
  await writes(`Cleo here ${run}`, cleo);
  await bubble(`Cleo here ${run}`).waitFor();
});

await step('declining by key lets the chat ring at the other agent', async () => {
  const emre = await open('emre', { width: 420, height: 760 });
  await emre.goto(new URL(CUSTOMER_CHAT_URL.replace(/\d$/, '1'), SIM_URL).href);
  await says(`Hello from Emre ${run}`, emre);
  const rings = (page) => at('room-offered', page).waitFor().then(() => page);
  const first = await Promise.any([rings(desk), rings(cleo)]);
  const other = first === desk ? cleo : desk;
  await first.keyboard.press('Alt+x');
  await at('room-offered', other).waitFor();
  await other.keyboard.press('Alt+a');
  await message(`Hello from Emre ${run}`, other).waitFor();
});

await step('the supervisor sees everybody, opens any chat, hands it over, and sets a status', async () => {
  await at('tab-board', sue).click();
  await sue.locator('[data-testid=board-room][data-status=active]').nth(1).waitFor();
  await looks('board', sue);
  await at('board-room', sue).filter({ hasText: 'Anna' }).getByRole('link').click();
  await message(`Cleo here ${run}`, sue).waitFor();
  await looks('supervisor-reads', sue);
  equal(await at('composer', sue).count(), 0, 'reply fields of somebody who only looks on');
  equal(await at('answer', sue).count(), 0, 'answers offered to somebody who only looks on');
  await at('note-toggle', sue).click();
  await writes(`I am watching ${run}`, sue);
  await cleo.locator('[data-direction=note]').filter({ hasText: `I am watching ${run}` }).waitFor();
  await at('tab-board', sue).click();
  await at('board-room', sue).filter({ hasText: 'Anna' }).getByTestId('give').click();
  const option = at('give-agent', sue).locator('option').filter({ hasText: 'Ben' });
  await at('give-agent', sue).selectOption(await option.getAttribute('value'));
  await at('give-confirm', sue).click();
  await at('room-active').filter({ hasText: 'Anna' }).waitFor();
  await at('composer-reason', cleo).or(cleo.getByText('Choose a chat')).or(cleo.getByText('No chats yet')).first().waitFor();
  await at('board-agent', sue).filter({ hasText: 'Cleo' }).getByTestId('board-status').click();
  await at('board-set-away', sue).click();
  await cleo.locator('[data-testid=status][data-status=away]').waitFor();
});

await step('everything has a Turkish word', async () => {
  await at('account', sue).click();
  await at('language-tr', sue).click();
  await sue.getByTestId('tab-chats').filter({ hasText: 'Sohbetler' }).waitFor();
  equal(await sue.locator('html').getAttribute('lang'), 'tr', "the page's language");
  equal(await sue.locator('html').getAttribute('dir'), 'ltr', "the page's direction");
  await sue.keyboard.press('Escape');
  await looks('board-turkish', sue);
  // What the gateway says of a field, too.
  await at('tab-setup', sue).click();
  await at('setup-working-hours', sue).click();
  await at('add', sue).click();
  await at('hours-name', sue).fill(`Ankara ${run}`);
  await at('hours-locale', sue).fill('?');
  await at('save', sue).click();
  await at('form-dialog', sue).getByText('tr ya da tr-TR gibi bir dil olmalı').waitFor();
  await sue.keyboard.press('Escape');
  await at('form-dialog', sue).waitFor({ state: 'detached' });
});

// ---- What customers may try ----------------------------------------------------------------------------------

/** Markup that would leave an attribute, an element, and a text. */
const EVIL = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1<\/script>';

await step('markup and scripts in names, texts, titles, payloads, file names and links stay text', async () => {
  await customer.goto(new URL('/', SIM_URL).href);
  await customer.locator('details.new summary').first().click();
  const form = customer.locator('.new form').first();
  const inputs = form.locator('input');
  await inputs.nth(0).fill(`Mallory${EVIL}`);
  await inputs.nth(1).fill(run);
  await form.locator('button').first().click();
  await customer.getByText('You are Mallory').waitFor();
  await says(`javascript:alert(1) data:text/html,<script>alert(1)</script> https://example.com/${run} ${EVIL}`);
  const page = await Promise.any([desk, cleo].map((it) => at('room-offered', it).waitFor().then(() => it)));
  await at('accept', page).click();
  // Waited for, because the transcript may be drawn anew between two looks.
  const link = message('javascript:alert(1)', page).getByRole('link');
  await link.first().waitFor();
  const links = await link.evaluateAll((all) => all.map((it) => [it.href, it.rel, it.target]));
  equal(JSON.stringify(links), JSON.stringify([[`https://example.com/${run}`, 'noopener noreferrer nofollow', '_blank']]), 'the links in the message');
  await at('details', page).getByText('Mallory').first().waitFor();
  // File names, both ways, and what an agent's own buttons carry.
  await customer.locator('#file').setInputFiles({ name: `${EVIL}.txt`, mimeType: 'text/plain', buffer: Buffer.from('x') });
  await page.locator('[data-testid=message][data-direction=inbound] [data-testid=attachment][data-type=file]').last().waitFor();
  await at('attach-input', page).setInputFiles({ name: `${EVIL}.txt`, mimeType: 'text/plain', buffer: Buffer.from('x') });
  await at('upload', page).and(page.locator('[data-state=ready]')).waitFor();
  await shot('xss-upload', page);
  await at('send', page).click();
  await customer.locator('.line.page .card a').last().waitFor();
  const room = page.url().split('/').pop();
  const content = { kind: 'quick_replies', text: `Which? ${EVIL}`, replies: [{ title: '<svg onload=hack()>', payload: EVIL }] };
  await api(page, 'POST', `/rooms/${room}/messages`, { content });
  await customer.locator('.chip').filter({ hasText: '<svg onload=hack()>' }).click();
  await message('<svg onload=hack()>', page).last().waitFor();
  for (const url of ['javascript:hack()', 'data:text/html,<script>hack()</script>', 'vbscript:x']) {
    const data = { content: { kind: 'buttons', text: 'x', buttons: [{ type: 'url', title: 'x', url }] } };
    const refused = await page.context().request.post(new URL(`/api/v1/rooms/${room}/messages`, CHATGATE_URL).href, { data });
    equal(refused.status(), 422, `a button to ${url}`);
  }
  // What no simulator sends, but Facebook might bring.
  const psid = (await api(page, 'GET', `/rooms/${room}`)).contact.sender_id;
  const attachments = [
    { type: 'fallback', title: `A link ${EVIL}`, payload: { url: 'javascript:hack()', title: `A link ${EVIL}` } },
    { type: 'location', title: `A place ${EVIL}`, url: 'javascript:hack()', payload: { coordinates: { lat: 41, long: 29 } } },
    { type: 'image', payload: { url: 'javascript:hack()' } },
    { type: EVIL, payload: { url: 'data:text/html,<script>hack()</script>', title: EVIL } },
  ];
  const referral = { ref: EVIL, source: 'ADS', type: 'OPEN_THREAD', ad_id: EVIL, ads_context_data: { ad_title: EVIL, photo_url: 'javascript:hack()' } };
  await tells(sue, psid, [
    { message: { mid: `m_evil_${run}`, attachments } },
    { postback: { mid: `m_evil_postback_${run}`, title: `Pressed ${EVIL}`, payload: EVIL, referral } },
    { reaction: { mid: `m_evil_${run}`, reaction: 'other', emoji: EVIL, action: 'react' } },
  ]);
  await message(`A link ${EVIL}`, page).waitFor();
  await message(`Pressed ${EVIL}`, page).waitFor();
  const hrefs = await at('transcript', page).locator('a').evaluateAll((all) => all.map((it) => new URL(it.href).protocol));
  equal(hrefs.filter((it) => !['http:', 'https:'].includes(it)).join(' '), '', 'where links lead');
  await shot('xss', page);
  await at('tab-board', sue).click();
  await at('board-room', sue).filter({ hasText: 'Mallory' }).waitFor();
  for (const it of [desk, cleo, sue, customer]) {
    equal(await it.evaluate(() => window.hacked), undefined, 'what a script of the customer did');
    equal(await it.locator('[onerror], [onload], script:not([src])').count(), 0, 'elements made from texts');
    equal(await it.locator('a[href^="javascript:" i], a[href^="data:" i]').count(), 0, 'links that would do something');
  }
});

// ---- The end -------------------------------------------------------------------------------------------------

await step('the agent closes the chat, and the customer reads the closing text', async () => {
  await customer.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await customer.locator('.bubble').first().waitFor();
  await at('room-active').filter({ hasText: 'Anna' }).click();
  await at('chat-name').filter({ hasText: 'Anna' }).waitFor();
  const before = await customer.locator('.bubble').count();
  await at('close-room').click();
  await looks('close', desk);
  await at('close-confirm').click();
  await at('close-dialog').waitFor({ state: 'detached' });
  matches(await at('composer-reason').textContent(), /closed/, 'the sentence that the chat is closed');
  if (CLOSING_TEXT) await bubble(CLOSING_TEXT).last().waitFor();
  else await until(async () => (await customer.locator('.bubble').count()) > before, 'one more bubble at the customer');
  await shot('customer-closed', customer);
});

await step('signing out ends the session', async () => {
  await at('account').click();
  await at('logout').click();
  await at('login-form').waitFor();
  await desk.reload();
  await at('login-form').waitFor();
});

await step('every page is accessible and fits a small phone', async () => {
  equal(findings.join(' | '), '', 'findings');
});

await step('no page had script errors, dialogs, or broke its content policy', async () => {
  equal(faults.join(' | '), '', 'faults');
});

await end();
