// One line for lists, quotes and screen readers.
import type { Content, Message } from '../api/types';
import { i18n } from '../i18n/index.svelte';

/** The line of a message; what the gateway itself says is said in the desk's language. */
export const lineOf = ({ direction, content }: Message): string => (direction === 'system' ? i18n.say(summary(content)) : summary(content));

export function summary(content: Content): string {
  const t = i18n.t.content;
  switch (content.kind) {
    case 'attachments': {
      const names = content.attachments.map((it) => it.name || it.title || t.attachment[it.type]);
      return [content.text, names.join(', ')].filter(Boolean).join(' · ');
    }
    case 'shared_field':
      return `${t.shared[content.field]}: ${content.value}`;
    case 'request_field':
      return t.asked[content.field];
    case 'carousel':
      return content.elements.map((it) => it.title).join(', ') || t.cards;
    case 'unsupported':
      return t.unsupported(content.what);
    default:
      return content.text;
  }
}
