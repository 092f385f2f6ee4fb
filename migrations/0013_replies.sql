-- What sending must remember over restarts, and what all processes must agree on: pauses, who cannot be reached, sends in doubt.

alter table meta_apps
    -- Nothing of any Page of this app is sent before then: Meta has said that the app calls too much.
    add column paused_until timestamptz;

alter table widgets
    -- Nothing of this Page is sent before then: too many calls, or Meta restricts it.
    add column paused_until timestamptz;

alter table contacts
    add column paused_until timestamptz,
    -- Meta said that this person cannot be reached, and why. Holds until they write again: until last_inbound_at is no longer what it
    -- was then, so that nothing has to be cleared on the way in.
    add column unreachable_since timestamptz,
    add column unreachable_inbound_at timestamptz,
    add column unreachable_error jsonb;

alter table rooms
    -- When to look whether the messaging window is about to close. Written about once a day, not with every message: a message of
    -- the contact's moves the end of the window further away, so looking too early does no harm. Null: never looked.
    add column window_look_at timestamptz;
create index rooms_window_look on rooms (coalesce(window_look_at, '-infinity'::timestamptz)) where status <> 'closed';

-- Rows live for milliseconds: dead ones are to be swept before they slow the claims down.
alter table outbox set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
drop index outbox_due;
create index outbox_due on outbox (due_at) where state = 'due';
create index outbox_claimed on outbox (claimed_until) where state = 'sending';
create index outbox_of_widget on outbox (tenant_id, widget_id);

-- Messages that may have been sent. If no echo comes, the Page's own list of messages is asked.
create table doubts (
    tenant_id uuid not null,
    message_id uuid not null,
    widget_id uuid not null,
    -- When the request was written, and when the answer was given up: what the list is compared with.
    sent_after timestamptz not null,
    sent_before timestamptz not null,
    look_at timestamptz not null,
    attempts integer not null default 0,
    constraint doubts_pk primary key (tenant_id, message_id),
    constraint doubts_message_fk foreign key (tenant_id, message_id) references messages (tenant_id, id) on delete cascade
);
create index doubts_look on doubts (look_at);
