// An agent without a mouse: from signing in to an answered chat, by the keyboard alone.
//
// Environment and exit codes: see walk.mjs.

import { CHATGATE_URL, CUSTOMER_CHAT_URL, PASSWORD, SIM_URL, TENANT, end, equal, faults, live, open, run, step, truthy, until } from './support.mjs';

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

await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
