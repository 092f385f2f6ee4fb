// Long lists: a chat of 10,000 messages and a floor of 1,000 chats. What is in the page stays little, whatever is scrolled, and the
// oldest can be reached. Wants the tenant of the story in tests/it/browser.rs: Ben with Anna's chat, Ada who supervises.
//
// Environment and exit codes: see walk.mjs.

import { CHATGATE_URL, end, equal, faults, findings, looks, shot, signIn, step, truthy, until } from './support.mjs';

/** More elements than this are not in the page, however long the list: some screens full. */
const MOST_DRAWN = 80;
let ben;
let ada;
const at = (id, page) => page.getByTestId(id);
const seqs = () => ben.getByTestId('message').evaluateAll((all) => all.map((it) => Number(it.dataset.seq)));
const drawn = async (locator, what) => {
  const count = await locator.count();
  truthy(count > 0 && count <= MOST_DRAWN, `1 to ${MOST_DRAWN} ${what} in the page (there are ${count})`);
};
const contiguous = async () => {
  const found = await seqs();
  const gap = found.findIndex((it, index) => index > 0 && it !== found[index - 1] + 1);
  equal(gap, -1, `gaps in ${found.join(' ')}`);
};
const toBeginning = (transcript) => transcript.evaluate((it) => { it.scrollTop = 0; });
const api = (path) => ben.context().request.get(new URL(`/api/v1${path}`, CHATGATE_URL).href).then((it) => it.json());

await step('the chat opens at its newest message, with little in the page', async () => {
  ben = await signIn('ben', 'ben@acme.test');
  await at('room-active', ben).click();
  await until(async () => (await seqs()).includes(10_000), 'the newest message');
  await drawn(at('message', ben), 'messages');
  await contiguous();
});

await step('scrolling up reaches the oldest message, without a gap', async () => {
  const transcript = at('transcript', ben);
  let oldest = Infinity;
  let turns = 0;
  while (oldest > 1) {
    const before = oldest;
    // Again and again, as a hand would: while the end comes to rest, the list goes back there.
    await until(async () => {
      await toBeginning(transcript);
      return (oldest = Math.min(...(await seqs()))) < before || oldest === 1;
    }, `something older than ${before}`);
    await drawn(at('message', ben), 'messages');
    turns += 1;
    truthy(turns < 400, 'the end of the list');
  }
  await contiguous();
  await until(async () => {
    await toBeginning(transcript);
    return ben.getByText('Message 1', { exact: true }).isVisible();
  }, 'the first message of all');
  console.log(`        ${turns} turns`);
  await shot('oldest', ben);
});

await step('the way back down has no gap either, and everything in between is there', async () => {
  const transcript = at('transcript', ben);
  for (let part = 1; part < 20; part += 1) {
    await transcript.evaluate((it, part) => { it.scrollTop = (it.scrollHeight * part) / 20; }, part);
    // What is scrolled to is drawn in the next frames.
    await until(async () => (await seqs()).some((it) => Math.abs(it - part * 500) < 500), `messages around ${part * 500}`);
    await drawn(at('message', ben), 'messages');
    await contiguous();
  }
});

await step('something new does not pull a reader down, and is one button away', async () => {
  const transcript = at('transcript', ben);
  await until(async () => {
    await toBeginning(transcript);
    return (await seqs()).includes(1);
  }, 'the oldest message');
  const room = ben.url().split('/').pop();
  ada = await signIn('ada', 'admin@acme.test');
  const said = await ada.context().request.post(new URL(`/api/v1/rooms/${room}/notes`, CHATGATE_URL).href, { data: { text: 'Written elsewhere' } });
  truthy(said.ok(), `a note (${said.status()})`);
  await at('newest', ben).waitFor();
  truthy((await seqs()).includes(1), 'the reader where they were');
  await at('newest', ben).click();
  await at('message', ben).filter({ hasText: 'Written elsewhere' }).waitFor();
  await until(async () => (await seqs()).includes(10_001), 'the newest message');
  await drawn(at('message', ben), 'messages');
  equal((await api(`/rooms/${room}`)).last_seq, 10_001, 'the newest message of the room');
});

await step('a thousand chats: the list, its end, and the search', async () => {
  const rows = ada.locator('[data-testid=room-list] [data-testid^=room-]');
  await ada.getByTestId('room-list').getByText('999', { exact: true }).waitFor();
  await drawn(rows, 'chats');
  const scroller = ada.locator('[data-testid=room-list] .scroll');
  await rows.filter({ hasText: 'Customer 0002' }).waitFor();
  await scroller.evaluate((it) => { it.scrollTop = it.scrollHeight; });
  await rows.filter({ hasText: 'Anna' }).waitFor();
  await drawn(rows, 'chats');
  await scroller.evaluate((it) => { it.scrollTop = it.scrollHeight / 2; });
  await rows.filter({ hasText: /Customer 0[45]\d\d/ }).first().waitFor();
  await drawn(rows, 'chats');
  await ada.getByTestId('room-list').getByRole('searchbox').fill('customer 0777');
  await until(async () => (await rows.count()) === 1, 'one chat found');
  await rows.click();
  await at('chat-name', ada).filter({ hasText: 'Customer 0777' }).waitFor();
});

await step('a thousand chats on the live board', async () => {
  await at('tab-board', ada).click();
  const rows = at('board-room', ada);
  await rows.filter({ hasText: 'Customer 0002' }).waitFor();
  await at('board-queue', ada).filter({ hasText: '999' }).waitFor();
  await drawn(rows, 'chats');
  const scroller = ada.getByRole('group', { name: 'Open chats' });
  await scroller.evaluate((it) => { it.scrollTop = it.scrollHeight; });
  await rows.filter({ hasText: 'Anna' }).waitFor();
  await drawn(rows, 'chats');
  await looks('board-of-a-thousand', ada);
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
