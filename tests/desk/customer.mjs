// The simulator's page: several customers who write as in Messenger, and the switches for what goes wrong.
//
// Environment and exit codes: see walk.mjs.

import { CUSTOMER_CHAT_URL, SIM_URL, end, equal, faults, findings, goReady, looks, open, run, signIn, step, until, says as customerSays, writes as agentWrites } from './support.mjs';

const DESKTOP = { width: 1366, height: 820 };
const anna = await open('anna', DESKTOP);
const emre = await open('emre', { width: 420, height: 760 });
let ben;
const at = (id, page = ben) => page.getByTestId(id);
const bubble = (text, page = anna) => page.locator('.bubble').filter({ hasText: text });
const line = (text, page = anna) => page.locator('.line').filter({ hasText: text });
const message = (text) => at('message').filter({ hasText: text });
const person = (name, page = anna) => page.locator('.person-row').filter({ hasText: name });
const says = (text, page = anna) => customerSays(page, text);
const writes = (text, page = ben) => agentWrites(page, text);

await step('the list has the people of each Page, and nobody is chosen', async () => {
  await anna.goto(new URL('/', SIM_URL).href);
  await person('Anna Bell').waitFor();
  await person('Emre Kaya').waitFor();
  await anna.getByText('Nobody chosen').waitFor();
  await looks('customer-list', anna);
});

await step('a chat begins with Get Started, and shows when it was delivered and seen', async () => {
  ben = await signIn('ben', 'ben@demo.test');
  await goReady(ben);
  await person('Anna Bell').getByRole('link').click();
  await anna.locator('#get-started').click();
  await bubble('Get Started').waitFor();
  await anna.locator('.mark').filter({ hasText: /Sent|Delivered/ }).waitFor();
  await at('accept').click();
  await at('conversation').waitFor();
  await anna.locator('.mark').filter({ hasText: 'Seen' }).waitFor();
});

await step('the dots show that somebody types, until they stop', async () => {
  await at('composer').pressSequentially('I am');
  await anna.locator('#typing').waitFor();
  await writes(`I am here ${run}`);
  await bubble(`I am here ${run}`).waitFor();
  await anna.locator('#typing').waitFor({ state: 'hidden' });
});

await step('answers quote what they answer, in both directions', async () => {
  await line(`I am here ${run}`).hover();
  await line(`I am here ${run}`).getByRole('button', { name: 'Answer' }).click();
  await anna.locator('#about').getByText(`I am here ${run}`).waitFor();
  await says(`And I am there ${run}`);
  await line(`And I am there ${run}`).locator('.quote').filter({ hasText: `I am here ${run}` }).waitFor();
  await message(`And I am there ${run}`).getByText(`I am here ${run}`).waitFor();
  await message(`And I am there ${run}`).hover();
  await message(`And I am there ${run}`).getByTestId('answer').click();
  await writes(`Where is there? ${run}`);
  await line(`Where is there? ${run}`).locator('.quote').filter({ hasText: `And I am there ${run}` }).waitFor();
});

await step('reactions come and go on both sides', async () => {
  const theirs = line(`Where is there? ${run}`);
  const react = async (emoji) => {
    await theirs.hover();
    await theirs.locator('.react summary').click();
    await theirs.getByRole('button', { name: `React with ${emoji}` }).click();
  };
  await react('😆');
  await theirs.locator('.reaction').filter({ hasText: '😆' }).waitFor();
  await message(`Where is there? ${run}`).getByTestId('reactions').getByText('😆').waitFor();
  await looks('customer-chat', anna);
  await react('😆');
  await theirs.locator('.reaction').waitFor({ state: 'detached' });
  await until(async () => (await message(`Where is there? ${run}`).getByTestId('reactions').count()) === 0, 'the reaction is gone at the desk');
});

await step('what was written is edited and unsent, and the desk sees it', async () => {
  await says(`At homw ${run}`);
  await message(`At homw ${run}`).waitFor();
  await line(`At homw ${run}`).hover();
  await line(`At homw ${run}`).getByRole('button', { name: 'Edit' }).click();
  equal(await anna.locator('#text').inputValue(), `At homw ${run}`, 'what is edited');
  await says(`At home ${run}`);
  await line(`At home ${run}`).getByText('Edited').waitFor();
  await message(`At home ${run}`).getByText('edited').waitFor();
  equal(await bubble(`At homw ${run}`).count(), 0, 'how often the old words stand there');
  await line(`At home ${run}`).hover();
  await line(`At home ${run}`).getByRole('button', { name: 'Unsend' }).click();
  await anna.locator('.bubble.gone').waitFor();
  await at('conversation').getByText('The message was unsent').waitFor();
  equal(await message(`At home ${run}`).count(), 0, 'how often the unsent words stand at the desk');
});

await step('several files are sent at once, with their names', async () => {
  const text = (name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) });
  await anna.locator('#file').setInputFiles([text('order.txt'), text('invoice 4711.txt')]);
  await anna.locator('.card a').filter({ hasText: 'order.txt' }).waitFor();
  await anna.locator('.card a').filter({ hasText: 'invoice_4711.txt' }).waitFor();
  await at('attachment').filter({ hasText: 'order.txt' }).waitFor();
  await at('attachment').filter({ hasText: 'invoice_4711.txt' }).waitFor();
});

await step('files are pasted and dropped anywhere, and what is no file stays a text', async () => {
  /** Pastes or drops a file, as the browser would tell of it; whether the browser is left to do its own. */
  const hands = (how, name, text) => anna.evaluate(([how, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([name], name, { type: 'text/plain' }));
    if (text) data.setData('text/plain', text);
    const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
    if (how === 'paste') return document.querySelector('#text').dispatchEvent(new ClipboardEvent('paste', options));
    const place = document.querySelector('#lines');
    if (place.dispatchEvent(new DragEvent('dragover', options))) return true;
    return place.dispatchEvent(new DragEvent('drop', options));
  }, [how, name, text]);
  equal(await hands('paste', 'pasted.txt'), false, 'the paste is not also the browser’s');
  await anna.locator('.card a').filter({ hasText: 'pasted.txt' }).waitFor();
  equal(await hands('drop', 'dropped.txt'), false, 'the drop does not replace the page');
  await anna.locator('.card a').filter({ hasText: 'dropped.txt' }).waitFor();
  await at('attachment').filter({ hasText: 'pasted.txt' }).waitFor();
  await at('attachment').filter({ hasText: 'dropped.txt' }).waitFor();
  // Office programs paste a picture of the text beside it.
  equal(await hands('paste', 'picture of a text.txt', 'the text'), true, 'words are the browser’s to paste');
  equal(await anna.locator('.card a').filter({ hasText: 'picture' }).count(), 0, 'files sent with words');
});

await step('chips and buttons are tapped; a text that would be markup is a text; addresses are links', async () => {
  await at('templates').click();
  await at('template-buttons').click();
  await at('template-text').fill(`Shall we? ${run}`);
  await ben.locator('[data-testid=template-title]').first().fill('Yes <b>');
  await ben.getByTestId('template-type').first().selectOption('postback');
  await at('template-send').click();
  await anna.locator('.card').filter({ hasText: `Shall we? ${run}` }).getByRole('button', { name: 'Yes <b>' }).click();
  await message('Yes <b>').last().waitFor();
  await writes(`Look at https://example.com/a?b=${run}.`);
  const link = bubble(`https://example.com/a?b=${run}`).getByRole('link');
  equal(await link.getAttribute('href'), `https://example.com/a?b=${run}`, 'the link without the full stop');
});

await step('somebody else writes in another tab, and the list shows what is unread', async () => {
  await emre.goto(new URL(CUSTOMER_CHAT_URL.replace(/\d$/, '1'), SIM_URL).href);
  await says(`Emre here ${run}`, emre);
  // Before somebody takes the chat: the opening text is the last line then.
  await person('Emre Kaya').filter({ hasText: `Emre here ${run}` }).waitFor();
  await at('room-offered').waitFor();
  await at('accept').click();
  await at('chat-name').filter({ hasText: 'Emre' }).waitFor();
  await emre.locator('.back').click();
  await person('Emre Kaya', emre).waitFor();
  await writes(`Hello Emre ${run}`);
  await person('Emre Kaya').locator('.unread').waitFor();
  await looks('customer-phone-list', emre);
  await person('Emre Kaya', emre).getByRole('link').click();
  await bubble(`Hello Emre ${run}`, emre).waitFor();
  await until(async () => (await person('Emre Kaya').locator('.unread').count()) === 0, 'nothing is unread after reading');
});

await step('a person is added, and plays along', async () => {
  await anna.locator('details.new summary').click();
  await anna.locator('.new [name=first_name]').fill('Zoë');
  await anna.locator('.new [name=last_name]').fill(run);
  await anna.locator('.new form button').click();
  await anna.getByText(`You are Zoë ${run}`).waitFor();
  await says(`I am new ${run}`);
  await at('room-offered').filter({ hasText: 'Zoë' }).waitFor();
  await at('accept').click();
  await message(`I am new ${run}`).waitFor();
});

await step('the next send is refused: the desk says why, the page how many faults wait', async () => {
  await anna.locator('details[data-key^=faults] summary').click();
  await anna.getByRole('button', { name: 'Refuse next send' }).click();
  await anna.locator('.badge').filter({ hasText: '1 fault waiting' }).waitFor();
  await looks('customer-faults', anna);
  await writes(`Refused ${run}`);
  await ben.locator('[data-testid=message][data-status=failed]').filter({ hasText: `Refused ${run}` }).waitFor();
  await ben.getByText('The customer blocked the Page').or(ben.getByText('Not delivered')).first().waitFor();
  await anna.locator('.badge').waitFor({ state: 'detached' });
  equal(await bubble(`Refused ${run}`).count(), 0, 'what the customer got');
});

await step('switches stay pressed until they are released, and every open page sees them', async () => {
  const other = await open('other', DESKTOP);
  await other.goto(new URL('/', SIM_URL).href);
  const pressed = (page, name) => page.getByRole('button', { name, pressed: true });
  await person('Emre Kaya').getByRole('button', { name: 'Close window' }).click();
  await pressed(other, 'Window closed').waitFor();
  await pressed(other, 'Window closed').click();
  await pressed(anna, 'Window closed').waitFor({ state: 'detached' });
  await anna.getByRole('button', { name: 'Hang' }).click();
  await other.locator('.badge').filter({ hasText: 'hanging' }).waitFor();
  await anna.getByRole('button', { name: 'Answer again' }).click();
  await other.locator('.badge').waitFor({ state: 'detached' });
  await anna.getByLabel('Deliver every event twice').check();
  await until(() => other.getByLabel('Deliver every event twice').isChecked(), 'the other page shows the switch');
  await says(`Only once ${run}`);
  await message(`Only once ${run}`).waitFor();
  await anna.getByLabel('Deliver every event twice').uncheck();
  equal(await message(`Only once ${run}`).count(), 1, 'how often the desk has it');
});

await step('a chat that does not exist says so', async () => {
  const nobody = await open('nobody');
  await nobody.goto(new URL('/chat/1/1', SIM_URL).href);
  await nobody.getByText('There is no such chat.').waitFor();
});

await step('every page is accessible and fits a small phone', async () => equal(findings.join(' | '), '', 'findings'));
await step('no page had script errors, dialogs, or broke its content policy', async () => {
  equal(faults.join(' | '), '', 'faults');
});
await end();
