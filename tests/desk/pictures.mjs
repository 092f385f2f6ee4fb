// Makes the pictures of the desk in docs/images, from a fresh demo: `script/pictures` runs it.

import { join } from 'node:path';
import { CHATGATE_URL, CUSTOMER_CHAT_URL, SHOTS, SIM_URL, end, goReady, open, signIn, step } from './support.mjs';

const SIZE = { width: 1200, height: 700 };
const take = (name, page) => page.screenshot({ path: join(SHOTS, `${name}.png`) });
const writes = async (page, text) => {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('composer').press('Enter');
  await page.getByTestId('message').filter({ hasText: text }).waitFor();
};
const says = async (page, text) => {
  await page.locator('#composer textarea').first().fill(text);
  await page.locator('#send').click();
  await page.locator('.bubble').filter({ hasText: text }).first().waitFor();
};

let ben;
await step('the agent at work', async () => {
  ben = await signIn('ben', 'ben@demo.test');
  await ben.setViewportSize(SIZE);
  await ben.getByRole('button', { name: 'No', exact: true }).click();
  await goReady(ben);
  const anna = await open('anna', { width: 420, height: 760 });
  await anna.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await says(anna, 'Hello! Is my order on its way?');
  await ben.getByTestId('accept').click();
  await says(anna, 'It is number 4711.');
  await ben.getByTestId('message').filter({ hasText: '4711' }).waitFor();
  await writes(ben, 'It is, and it should arrive on Friday. I will write to you when it leaves our house.');
  await ben.getByTestId('ask-email').click();
  await anna.locator('.chip').first().click();
  await ben.getByTestId('shared-value').waitFor();
  await ben.getByTestId('note-toggle').click();
  await writes(ben, 'Third order this month.');
  const emre = await open('emre', { width: 420, height: 760 });
  await emre.goto(new URL(CUSTOMER_CHAT_URL.replace(/\d$/, '1'), SIM_URL).href);
  await says(emre, 'Do you have it in blue?');
  await ben.getByTestId('room-offered').waitFor();
  await ben.waitForTimeout(500);
  await take('desk', ben);
});

await step('the live board and the set-up guide', async () => {
  const sue = await signIn('sue', 'sue@demo.test');
  await sue.setViewportSize(SIZE);
  await sue.goto(new URL('/desk/board', CHATGATE_URL).href);
  await sue.getByTestId('board-room').nth(1).waitFor();
  // What has just been laid out may not be painted yet.
  await sue.evaluate(() => new Promise((done) => setTimeout(done, 500)));
  await take('board', sue);
  await sue.getByTestId('tab-setup').click();
  await sue.getByTestId('widget').first().click();
  await sue.locator('[data-testid=step-event][data-done=true]').waitFor();
  await take('setup', sue);
});

await end();
