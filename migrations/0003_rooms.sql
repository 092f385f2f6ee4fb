-- Contacts, their rooms, what is said in them, and what is on its way out.

create table contacts (
    tenant_id uuid not null,
    id uuid not null,
    widget_id uuid not null,
    -- The page-scoped id: the same person has another one on every Page.
    sender_id text not null,
    name text,
    first_name text,
    picture_url text,
    locale text,
    email text,
    phone text,
    -- When the profile was last asked for, whether or not there was one.
    profile_at timestamptz,
    -- The last thing the contact did that opens the messaging window.
    last_inbound_at timestamptz,
    -- The closed period for which the offline message has gone out, named by its beginning.
    offline_told_for timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint contacts_pk primary key (tenant_id, id),
    constraint contacts_sender_key unique (tenant_id, widget_id, sender_id),
    constraint contacts_widget_fk foreign key (tenant_id, widget_id) references widgets (tenant_id, id)
) with (fillfactor = 80);
create index contacts_without_profile on contacts (created_at) where profile_at is null;

create table rooms (
    tenant_id uuid not null,
    id uuid not null,
    widget_id uuid not null,
    contact_id uuid not null,
    status text not null,
    queue_id uuid,
    -- Who holds it, or to whom it is offered.
    agent_id uuid,
    offer_expires_at timestamptz,
    -- The place in the queue: kept through declined and lapsed offers.
    place_at timestamptz,
    -- Agents not to be rung again before rering_at, because they declined or let the offer lapse.
    passed_by uuid[] not null default '{}',
    rering_at timestamptz,
    -- after_hours 'hold': came while closed, not offered before the hours are found open.
    is_held boolean not null default false,
    referral jsonb,
    tags text[] not null default '{}',
    last_seq bigint not null default 0,
    unread integer not null default 0,
    opening_sent boolean not null default false,
    close_reason text,
    opened_at timestamptz not null,
    queued_at timestamptz,
    accepted_at timestamptz,
    closed_at timestamptz,
    -- Wrap-up: a closed room keeps its agent's seat until then.
    seat_until timestamptz,
    constraint rooms_pk primary key (tenant_id, id),
    constraint rooms_contact_fk foreign key (tenant_id, contact_id) references contacts (tenant_id, id),
    constraint rooms_widget_fk foreign key (tenant_id, widget_id) references widgets (tenant_id, id),
    constraint rooms_queue_fk foreign key (tenant_id, queue_id) references queues (tenant_id, id),
    constraint rooms_agent_fk foreign key (tenant_id, agent_id) references agents (tenant_id, user_id),
    constraint rooms_states check (
        case status
            when 'waiting' then queue_id is not null and place_at is not null and agent_id is null and offer_expires_at is null
            when 'offered' then agent_id is not null and offer_expires_at is not null and place_at is not null
            when 'active' then agent_id is not null and offer_expires_at is null and accepted_at is not null
            when 'closed' then closed_at is not null and close_reason is not null and offer_expires_at is null
            else false
        end)
) with (fillfactor = 70);
-- One open room per contact, whatever happens.
create unique index rooms_one_open on rooms (tenant_id, contact_id) where status <> 'closed';
create index rooms_of_contact on rooms (tenant_id, contact_id, id);
create index rooms_waiting on rooms (tenant_id, queue_id, place_at, id) where status = 'waiting';
create index rooms_seats on rooms (tenant_id, agent_id) where status in ('offered', 'active');
create index rooms_offers on rooms (offer_expires_at) where status = 'offered';

create table messages (
    tenant_id uuid not null,
    id uuid not null,
    room_id uuid not null,
    widget_id uuid not null,
    seq bigint not null,
    direction text not null,
    author_kind text not null,
    author_id uuid,
    author_name text not null,
    content jsonb not null,
    -- Messages are answered by id; one that we do not have keeps its external id only.
    reply_to uuid,
    reactions jsonb not null default '[]',
    status text not null,
    error jsonb,
    -- The channel's id (a mid). Unique per widget: this is what makes a second delivery change nothing.
    external_id text,
    -- When the channel says it was sent: what watermarks are compared with.
    external_at timestamptz,
    edited_at timestamptz,
    created_at timestamptz not null,
    sent_at timestamptz,
    delivered_at timestamptz,
    read_at timestamptz,
    constraint messages_pk primary key (tenant_id, id),
    constraint messages_seq_key unique (tenant_id, room_id, seq),
    constraint messages_direction_known check (direction in ('inbound', 'outbound', 'note', 'system')),
    constraint messages_status_known check (status in ('received', 'queued', 'sent', 'delivered', 'read', 'failed', 'uncertain', 'unsent'))
) with (fillfactor = 90);
create unique index messages_external_key on messages (tenant_id, widget_id, external_id) where external_id is not null;

-- What is on its way out: one row per message until it is settled. A row is claimed and the claim committed before anything is
-- sent, so a row found claimed by a dead process may have been sent: it becomes uncertain, never a second send.
create table outbox (
    tenant_id uuid not null,
    room_id uuid not null,
    seq bigint not null,
    message_id uuid not null,
    widget_id uuid not null,
    state text not null,
    attempts integer not null default 0,
    due_at timestamptz not null,
    claimed_until timestamptz,
    constraint outbox_pk primary key (tenant_id, room_id, seq),
    constraint outbox_message_fk foreign key (tenant_id, message_id) references messages (tenant_id, id) on delete cascade,
    constraint outbox_state_known check (state in ('due', 'sending'))
);
create index outbox_due on outbox (due_at);

-- The first answer to a request with an Idempotency-Key, given again for 24 h.
create table idempotency_keys (
    tenant_id uuid not null,
    caller_id uuid not null,
    key text not null,
    body_hash bytea not null,
    message_id uuid not null,
    created_at timestamptz not null,
    constraint idempotency_keys_pk primary key (tenant_id, caller_id, key),
    constraint idempotency_keys_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade
);
create index idempotency_keys_age on idempotency_keys (created_at);
