// What happens between people on the floor: an agent who is silent for too long, a thread that another app has, two agents in one chat.
// Wants the tenant of the story in tests/it/browser.rs: Ada who supervises, the agents Ben and Cleo, Ben's chats with Anna and Emre.
//
// Environment and exit codes: see walk.mjs.

import { CUSTOMER_CHAT_URL, SIM_URL, end, equal, faults, findings, goReady, live, looks, matches, open, run, signIn, step, until, writes as agentWrites } from './support.mjs';

const ada = await signIn('ada', 'admin@acme.test');
const ben = await signIn('ben', 'ben@acme.test');
let cleo;
const at = (id, page) => page.getByTestId(id);
const row = (name, page) => page.getByTestId('room-list').getByTestId('room-active').filter({ hasText: name });
const boardRow = (name) => at('board-room', ada).filter({ hasText: name });
const message = (text, page = ben) => at('message', page).filter({ hasText: text });
const writes = (text, page = ben) => agentWrites(page, text);

await step('an agent who is silent for too long is marked on the board and in the list, until they answer', async () => {
  await at('tab-board', ada).click();
  await boardRow('Anna').getByTestId('agent-silent').waitFor();
  equal(await boardRow('Emre').getByTestId('agent-silent').count(), 0, 'marks at a chat that nobody waits in');
  await looks('board-silent', ada);
  await row('Anna', ben).getByTestId('late').waitFor();
  equal(await row('Emre', ben).getByTestId('late').count(), 0, 'marks at a chat that nobody waits in');
  await row('Anna', ben).click();
  await looks('list-silent', ben);
  await writes(`Sorry, here I am ${run}`);
  await boardRow('Anna').getByTestId('agent-silent').waitFor({ state: 'detached' });
  await row('Anna', ben).getByTestId('late').waitFor({ state: 'detached' });
});

await step('a chat that another app answers says so; nothing goes out until it is taken back', async () => {
  await row('Emre', ben).click();
  await at('elsewhere', ben).waitFor();
  await looks('elsewhere', ben);
  await writes(`Held by another app ${run}`);
  const refused = ben.locator('[data-testid=pending][data-state=refused]');
  await refused.waitFor();
  matches(await refused.textContent(), /another app/i, 'why it was not sent');
  await at('take-thread', ben).click();
  await at('elsewhere', ben).waitFor({ state: 'detached' });
  await refused.getByTestId('retry').click();
  await refused.waitFor({ state: 'detached' });
  await message(`Held by another app ${run}`).waitFor();
  equal(await message(`Held by another app ${run}`).count(), 1, 'how often the reply stands there');
});

await step('whoever has not seen what a colleague and the customer wrote is held back and shown it', async () => {
  cleo = await signIn('cleo', 'cleo@acme.test');
  await goReady(cleo);
  const anna = await open('anna', { width: 420, height: 760 });
  await anna.goto(new URL(CUSTOMER_CHAT_URL, SIM_URL).href);
  await row('Anna', ben).click();
  await message(`Sorry, here I am ${run}`).waitFor();
  // Ben's requests go through, but he is told of nothing: his stream is cut and does not come back.
  await ben.route('**/api/v1/events*', (route) => route.abort());
  await ben.context().setOffline(true);
  await ben.locator('[data-testid=stream-state][data-state=down]').waitFor({ state: 'attached' });
  await ben.context().setOffline(false);

  const room = await row('Anna', ben).getAttribute('data-room');
  const hands = async (name) => {
    await boardRow('Anna').getByTestId('give').click();
    const option = at('give-agent', ada).locator('option').filter({ hasText: name });
    await at('give-agent', ada).selectOption(await option.getAttribute('value'));
    await at('give-confirm', ada).click();
    await boardRow('Anna').getByText(name).waitFor();
  };
  await hands('Cleo');
  await row('Anna', cleo).click();
  await writes(`Cleo was here ${run}`, cleo);
  await anna.locator('.bubble').filter({ hasText: `Cleo was here ${run}` }).waitFor();
  await anna.locator('#text').fill(`And so was I ${run}`);
  await anna.locator('#send').click();
  await message(`And so was I ${run}`, cleo).waitFor();
  await hands('Ben');

  equal(await message(`Cleo was here ${run}`).count(), 0, 'what Ben knows of it');
  await writes(`As I said ${run}`);
  const held = at('held', ben);
  await held.getByText(`Cleo was here ${run}`).waitFor();
  await held.getByText(`And so was I ${run}`).waitFor();
  await looks('held', ben);
  equal(await anna.locator('.bubble').filter({ hasText: `As I said ${run}` }).count(), 0, 'replies the customer got');
  await at('held-drop', ben).click();
  await writes(`Now that I know ${run}`);
  await anna.locator('.bubble').filter({ hasText: `Now that I know ${run}` }).waitFor();
  await ben.unroute('**/api/v1/events*');
  await ben.evaluate(() => dispatchEvent(new Event('online')));
  await live(ben);
  equal(await message(`Now that I know ${run}`).count(), 1, 'how often the reply stands there');
  await until(async () => (await anna.locator('.bubble').filter({ hasText: `Now that I know ${run}` }).count()) === 1, 'one bubble at the customer');
  equal(new URL(ben.url()).pathname, `/desk/chats/${room}`, 'where Ben is');
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => equal(faults.join(' | '), '', 'faults'));
await end();
