-- What Meta's rarer events leave behind: facts about contacts, changes of messages, and changes that came before their message.

alter table contacts
    -- What the channel told about the contact, the newest of each kind: {"account_linking": {…, "at": "…"}}.
    add column facts jsonb not null default '{}',
    -- Where the contact came in from, until their next message takes it into its room.
    add column referral jsonb,
    add column referral_at timestamptz,
    -- The contact's first message after a click on an ad: it opens a longer window than others.
    add column ad_message_at timestamptz,
    -- Which other app answers this contact; null while we may, or nobody said otherwise.
    add column thread_owner text,
    add column thread_owner_at timestamptz;

alter table messages
    -- The edit that is stored; Meta counts them, and they may come out of order.
    add column edit_number bigint,
    -- When the contact's reaction last changed, so that an old delivery cannot bring an old one back.
    add column reacted_at timestamptz;

-- Edits, retractions and reactions that came before their message, until it comes.
create table early_changes (
    tenant_id uuid not null,
    widget_id uuid not null,
    external_id text not null,
    kind text not null,
    at timestamptz not null,
    value jsonb not null,
    received_at timestamptz not null,
    constraint early_changes_pk primary key (tenant_id, widget_id, external_id, kind),
    constraint early_changes_widget_fk foreign key (tenant_id, widget_id) references widgets (tenant_id, id) on delete cascade,
    constraint early_changes_kind_known check (kind in ('edit', 'unsent', 'reaction'))
);
create index early_changes_age on early_changes (received_at);
