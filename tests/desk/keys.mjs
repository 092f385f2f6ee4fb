// An agent without a mouse: from signing in to an answered chat, by the keyboard alone.
//
// Environment and exit codes: see walk.mjs.

import { CHATGATE_URL, CUSTOMER_CHAT_URL, PASSWORD, SIM_URL, TENANT, end, equal, faults, goReady, live, open, run, signIn, step, truthy, until } from './support.mjs';

const customer = await open('customer', { width: 420, height: 760 });
const ben = await open('ben');
for (const name of ['click', 'dblclick', 'tap', 'hover', 'check']) {
  // Whoever reaches for the mouse fails.
  ben[name] = () => { throw new Error('no mouse here'); };
}
const at = (id) => ben.getByTestId(id);
const message = (text) => at('message').filter({ hasText: text });
const bubble = (text) => customer.locator('.bubble').filter({ hasText: text });
const press = (...keys) => keys.reduce((before, key) => before.then(() => ben.keyboard.press(key)), Promise.resolve());
const type = (text) => ben.keyboard.type(text);
const here = (locator) => locator.evaluate((it) => it === document.activeElement || it.contains(document.activeElement)).catch(() => false);

/** Tabs on until the control has the focus, and sees that one can see it. */
async function tabTo(id, key = 'Tab') {
  const control = at(id).first();
  await control.waitFor();
  for (let turn = 0; turn < 90; turn += 1) {
    if (await control.evaluate((it) => it === document.activeElement)) {
      const outline = await control.evaluate((it) => getComputedStyle(it).outlineStyle);
      truthy(outline !== 'none', `a visible focus at ${id}`);
      return;
    }
    await press(key);
  }
  throw new Error(`expected to reach ${id} by ${key}`);
}

async function says(text) {
  await customer.locator('#text').fill(text);
  await customer.locator('#send').click();
}

await step('signing in', async () => {
  await ben.goto(new URL(`/desk?tenant=${TENANT}`, CHATGATE_URL).href);
  await at('login-form').waitFor();
  await tabTo('login-email');
  await type('ben@demo.test');
  await tabTo('login-password');
  await type(PASSWORD);
  await press('Enter');
  await at('desk').waitFor();
  await live(ben);
});

await step('going ready by the menu, which Escape closes and gives the focus back', async () => {
  await tabTo('status-menu');
  await press('Enter');
  await at('status-ready').waitFor();
  await press('Escape');
  await until(() => here(at('status-menu')), 'the focus back at the button');
  await press('Enter');
  await tabTo('status-ready', 'ArrowDown');
  await press('Enter');
  await ben.locator('[data-testid=status][data-status=ready]').waitFor();
});

await step('accepting, and writing at once', async () => {
  await customer.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await says(`Hello ${run}`);
  await at('room-offered').waitFor();
  await press('Alt+a');
  await message(`Hello ${run}`).waitFor();
  await until(() => here(at('composer')), 'the focus in the reply field');
  await type(`By keys ${run}`);
  await press('Enter');
  await bubble(`By keys ${run}`).waitFor();
});

await step('answering one message and reacting to it', async () => {
  await tabTo('answer', 'Shift+Tab');
  await press('Enter');
  await at('answering').waitFor();
  await until(() => here(at('composer')), 'the focus in the reply field');
  await press('Escape');
  await at('answering').waitFor({ state: 'detached' });
  await tabTo('react', 'Shift+Tab');
  await press('Enter');
  await ben.getByRole('button', { name: '👍' }).first().waitFor();
  await until(() => ben.evaluate(() => document.activeElement.closest('[role=group]') !== null), 'the focus in the choice of emoji');
  await press('Enter');
  await at('reactions').waitFor();
});

await step('asking for the e-mail address, and a note', async () => {
  await press('Alt+r');
  await until(() => here(at('composer')), 'the focus in the reply field');
  await tabTo('ask-email');
  await press('Enter');
  await customer.locator('.chip').waitFor();
  await tabTo('note-toggle');
  await press('Enter');
  await type(`For us ${run}`);
  await press('Enter');
  await ben.locator('[data-direction=note]').filter({ hasText: `For us ${run}` }).waitFor();
});

await step('the canned answers: a slash lists them, the arrows move, Enter inserts, Escape lets be', async () => {
  const chosen = () => at('canned-list').locator('[aria-selected=true]').textContent();
  await press('Alt+r');
  await type('/');
  await at('canned-list').locator('[role=option]').nth(2).waitFor();
  const first = await chosen();
  await press('ArrowDown');
  await until(async () => (await chosen()) !== first, 'the second answer is chosen');
  const second = await chosen();
  equal(await at('composer').getAttribute('aria-activedescendant'), await at('canned-list').locator('[aria-selected=true]').getAttribute('id'), 'what a screen reader is told');
  await press('ArrowUp', 'ArrowUp', 'ArrowDown', 'ArrowDown');
  equal(await chosen(), second, 'the chosen answer after going around');
  await press('Escape');
  await at('canned-list').waitFor({ state: 'detached' });
  equal(await at('composer').inputValue(), '/', 'what Escape leaves');
  await type('ord');
  await at('canned-list').getByText('/order').waitFor();
  await press('Enter');
  equal(await at('composer').inputValue(), 'May I have your order number, Anna? It begins with a 4.', 'the inserted text');
  truthy(await here(at('composer')), 'the focus in the reply field');
  await press('Enter');
  await bubble('May I have your order number, Anna?').waitFor();
});

await step('a dialog takes the focus, keeps it, and gives it back on Escape', async () => {
  for (const [opener, dialog] of [['transfer-open', 'transfer-dialog'], ['close-room', 'close-dialog']]) {
    await tabTo(opener, 'Shift+Tab');
    await press('Enter');
    await until(() => here(at(dialog)), `the focus in ${dialog}`);
    for (let turn = 0; turn < 12; turn += 1) {
      await press('Tab');
      // The browser's own buttons are next to the dialog in turn; nothing else of the page is.
      truthy(await ben.evaluate((id) => document.activeElement === document.body || document.activeElement.closest(`[data-testid=${id}]`) !== null, dialog), `the focus still in ${dialog}`);
    }
    await press('Escape');
    await at(dialog).waitFor({ state: 'detached' });
    truthy(await here(at(opener)), `the focus back at ${opener}`);
  }
});

await step('a list of items in a menu gives the focus to the dialog it opens, and that gives it back', async () => {
  await press('Alt+r');
  await tabTo('templates');
  await press('Enter');
  await tabTo('template-buttons', 'ArrowDown');
  await press('Enter');
  await until(() => here(at('template-text')), 'the focus in the first field');
  await press('Escape');
  await until(() => here(at('templates')), 'the focus back at the menu');
});

const cleo = await signIn('cleo', 'cleo@demo.test');
await goReady(cleo);

await step('handing a chat over, and what comes next has the focus', async () => {
  await tabTo('transfer-open', 'Shift+Tab');
  await press('Enter');
  await until(() => here(at('transfer-target')), 'the focus in the choice');
  await type('Cleo');
  await tabTo('transfer-note');
  await type(`By keys to you ${run}`);
  await tabTo('transfer');
  await press('Enter');
  await at('transfer-dialog').waitFor({ state: 'detached' });
  await cleo.getByTestId('room-offered').waitFor();
  await until(() => here(at('conversation')), 'the focus still in the conversation');
  await cleo.getByTestId('decline').click();
  // Nobody else is ready, so it comes back.
  await at('room-offered').waitFor();
  await press('Alt+a');
  await until(() => here(at('composer')), 'the focus in the reply field');
  await message(`By keys to you ${run}`).waitFor();
});

await step('closing a chat with a tag', async () => {
  await tabTo('close-room', 'Shift+Tab');
  await press('Enter');
  await until(() => here(at('close-confirm')), 'the focus at what closes it');
  await press('Shift+Tab', 'Shift+Tab', 'Shift+Tab');
  await until(() => here(at('close-dialog').getByTestId('tag-input')), 'the focus at the tags');
  await type('by keys');
  await press('Enter');
  await at('close-dialog').getByRole('button', { name: 'by keys', pressed: true }).waitFor();
  await press('Shift+Tab', 'Space');
  await until(() => here(at('close-dialog').getByRole('button', { name: 'by keys', pressed: false })), 'the focus at the tag that was taken off');
  await press('Shift+Tab', 'Space');
  await at('close-dialog').getByRole('button', { name: 'complaint', pressed: true }).waitFor();
  await tabTo('close-confirm');
  await press('Enter');
  await at('close-dialog').waitFor({ state: 'detached' });
  await at('details').getByText('complaint').waitFor();
  await until(() => here(at('conversation')), 'the focus still in the conversation');
});

await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
