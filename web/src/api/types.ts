// Short names for what the API speaks of; everything comes from the generated document.
import type { components } from './schema';

type Schemas = components['schemas'];
export type Room = Schemas['Room'];
export type Message = Schemas['Message'];
export type Content = Schemas['Content'];
export type Attachment = Schemas['Attachment'];
export type Button = Schemas['Button'];
export type Card = Schemas['Card'];
export type Contact = Schemas['Contact'];
export type Agent = Schemas['Agent'];
export type AgentStatus = Schemas['AgentStatus'];
export type Me = Schemas['Me'];
export type Role = Schemas['Role'];
export type User = Schemas['User'];
export type Queue = Schemas['Queue'];
export type QueueInput = Schemas['QueueInput'];
export type QueueMember = Schemas['QueueMember'];
export type Widget = Schemas['Widget'];
export type WidgetInput = Schemas['WidgetInput'];
export type Callback = Schemas['Callback'];
export type WorkingHours = Schemas['WorkingHours'];
export type DayInterval = Schemas['DayInterval'];
export type IncomingChat = Schemas['IncomingChat'];
export type ApiKey = Schemas['ApiKey'];
export type Scope = Schemas['Scope'];
export type AuditEntry = Schemas['AuditEntry'];
export type LedgerItem = Schemas['LedgerItem'];
export type LedgerItemWithSteps = Schemas['LedgerItemWithSteps'];
export type Live = Schemas['Live'];
export type LiveQueue = Schemas['LiveQueue'];
export type EventOf = Schemas['Event'];

/** What a failed or held message says about itself. */
export interface MessageError {
  type?: string;
  detail?: string;
  meta_code?: number | null;
  meta_subcode?: number | null;
  /** The copy that was sent instead. */
  resent_as?: string;
}

/** A contact's or our own emoji on a message. */
export interface Reaction {
  by: string;
  emoji: string;
}
