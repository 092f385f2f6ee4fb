// From right to left: Arabic and Hebrew names and texts in a page that runs either way, on a wide screen and a phone.
//
// Environment and exit codes: see walk.mjs. No language of the desk runs from right to left yet, so the page is turned by hand; that a
// language which does turns it is a unit test beside the catalogues.

import { CHATGATE_URL, SIM_URL, end, equal, faults, findings, goReady, looks, open, run, shot, signIn, step, truthy, until } from './support.mjs';

const PAGE = '100200300400500';
const NAME = { first_name: 'عبد الرحمن', last_name: 'بن محمد الحسيني الهاشمي القرشي' };
const ARABIC = `مرحبا، أين طلبي رقم 4711؟ (${run})`;
const HEBREW = `שלום! ההזמנה number ${run} שלך בדרך, https://example.com/הזמנה/${run} תודה.`;
const LONG = `ا${'لمستشفيات'.repeat(20)}`;
let customer;
let ben;
let sue;
const at = (id, page = ben) => page.getByTestId(id);
const message = (text) => at('message').filter({ hasText: text });
const direction = (locator) => locator.evaluate((it) => getComputedStyle(it).direction);
const turn = (page, dir) => page.evaluate((dir) => { document.documentElement.dir = dir; }, dir);
const middle = async (locator) => {
  const box = await locator.boundingBox();
  return box.x + box.width / 2;
};

await step('a customer with an Arabic name writes in Arabic, and the desk sets each text by its own direction', async () => {
  ben = await signIn('ben', 'ben@demo.test');
  await goReady(ben);
  customer = await open('customer', { width: 420, height: 760 });
  const made = await customer.context().request.post(new URL(`/api/pages/${PAGE}/people`, SIM_URL).href, { data: { ...NAME, email: 'abd@example.com' } });
  await customer.goto(new URL(`/chat/${PAGE}/${(await made.json()).psid}`, SIM_URL).href);
  await customer.locator('#text').fill(ARABIC);
  await customer.locator('#send').click();
  await at('accept').click();
  await message(ARABIC).waitFor();
  await customer.locator('#text').fill(LONG);
  await customer.locator('#send').click();
  await message(LONG).waitFor();
  await at('composer').fill(HEBREW);
  equal(await direction(at('composer')), 'rtl', 'the direction while one writes');
  await at('composer').press('Enter');
  await at('composer').fill(`In English ${run}`);
  equal(await direction(at('composer')), 'ltr', 'the direction while one writes English');
  await at('composer').press('Enter');
  const words = (text) => message(text).locator('.bubble').getByText(text.slice(0, 8)).last();
  await words(`In English ${run}`).waitFor();
  equal(await direction(words(ARABIC)), 'rtl', 'the direction of Arabic');
  equal(await direction(words(`In English ${run}`)), 'ltr', 'the direction of English');
  equal(await direction(at('chat-name')), 'rtl', 'the direction of the name');
  equal(await direction(customer.locator('.bubble').filter({ hasText: ARABIC })), 'rtl', 'the direction in the simulator');
  await looks('rtl-names-in-ltr', ben);
  await looks('rtl-customer', customer);
});

await step('in a page from right to left everything changes sides', async () => {
  await turn(ben, 'rtl');
  await until(async () => (await middle(at('room-list'))) > 683, 'the list of chats on the right');
  truthy((await middle(at('details'))) < 683, 'the contact on the left');
  truthy((await middle(message(ARABIC).locator('.bubble'))) > (await middle(message(`In English ${run}`).locator('.bubble'))), "the customer's words right of ours");
  equal(await direction(message(`In English ${run}`).locator('.bubble').getByText('In English').last()), 'ltr', 'English in a page from right to left');
  await looks('rtl-chat', ben);
});

await step('menus, templates and dialogs fit', async () => {
  await at('status-menu').click();
  await shot('rtl-status', ben);
  await ben.keyboard.press('Escape');
  await at('templates').click();
  await looks('rtl-templates', ben);
  await at('template-quick-replies').click();
  await at('template-text').fill(ARABIC);
  await at('template-title').first().fill('نعم، من فضلك');
  await looks('rtl-template', ben);
  await at('template-send').click();
  await customer.locator('.chip').filter({ hasText: 'نعم، من فضلك' }).waitFor();
  await at('transfer-open').click();
  await looks('rtl-transfer', ben);
  await ben.keyboard.press('Escape');
});

await step('the board and the set-up fit, too', async () => {
  sue = await signIn('sue', 'sue@demo.test');
  const queue = await sue.context().request.post(new URL('/api/v1/queues', CHATGATE_URL).href, { data: { name: `خدمة العملاء الكرام في جميع الفروع ${run}` } });
  truthy(queue.ok(), 'a queue with an Arabic name');
  const canned = await sue.context().request.post(new URL('/api/v1/canned-answers', CHATGATE_URL).href, { data: { shortcut: `שלום-${run}`, text: HEBREW } });
  truthy(canned.ok(), 'a canned answer with a Hebrew name');
  await at('tab-board', sue).click();
  await turn(sue, 'rtl');
  await at('board-queue', sue).filter({ hasText: 'خدمة' }).waitFor();
  await at('board-room', sue).filter({ hasText: 'عبد الرحمن' }).waitFor();
  await looks('rtl-board', sue);
  await at('tab-setup', sue).click();
  for (const id of ['widgets', 'incoming-chats', 'queues', 'users', 'working-hours', 'canned-answers', 'api-keys', 'ledger', 'audit-log']) {
    await at(`setup-${id}`, sue).click();
    await sue.locator('main .card, main .table-frame').first().waitFor();
    await looks(`rtl-setup-${id}`, sue);
  }
  await at('setup-queues', sue).click();
  await at('add', sue).click();
  await looks('rtl-queue-form', sue);
  await sue.keyboard.press('Escape');
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
