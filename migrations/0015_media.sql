-- Files: attachments of messages, pictures of contacts, uploads for replies. The bytes lie in the media store under
-- <tenant>/<id>; a row is committed before its bytes are written, so bytes without a row that can tell of them do not exist.

create table media (
    tenant_id uuid not null,
    id uuid not null,
    -- What it belongs to: a message (its attachment number position), a contact (their picture), or, until it is sent, a room.
    message_id uuid,
    position integer,
    contact_id uuid,
    room_id uuid,
    kind text not null,
    -- 'due' and 'fetching' are on their way here from source_url, 'writing' is an upload under way.
    state text not null,
    source_url text,
    name text,
    mime text,
    size bigint,
    -- Of kind, name and bytes: what the channel keeps once need not be sent to it twice.
    digest bytea,
    reason text,
    attempts integer not null default 0,
    due_at timestamptz,
    claimed_until timestamptz,
    created_at timestamptz not null,
    stored_at timestamptz,
    constraint media_pk primary key (tenant_id, id),
    constraint media_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade,
    constraint media_message_fk foreign key (tenant_id, message_id) references messages (tenant_id, id) on delete cascade,
    constraint media_contact_fk foreign key (tenant_id, contact_id) references contacts (tenant_id, id) on delete cascade,
    constraint media_room_fk foreign key (tenant_id, room_id) references rooms (tenant_id, id) on delete cascade,
    constraint media_belongs check (num_nonnulls(message_id, contact_id, room_id) = 1),
    constraint media_states check (
        case state
            when 'due' then source_url is not null and due_at is not null
            when 'fetching' then source_url is not null and claimed_until is not null
            when 'writing' then room_id is not null
            when 'stored' then mime is not null and size is not null and stored_at is not null
            when 'failed' then reason is not null
            else false
        end)
);
-- Led by the tenant: whoever takes the next files takes a few of each.
create index media_due on media (tenant_id, due_at) where state = 'due';
create index media_fetching on media (claimed_until) where state = 'fetching';
create index media_of_message on media (tenant_id, message_id) where message_id is not null;
create index media_of_contact on media (tenant_id, contact_id) where contact_id is not null;
create index media_of_room on media (tenant_id, room_id) where room_id is not null;
create index media_unsent on media (created_at) where room_id is not null;

-- Files whose rows are gone, however they went; the bytes follow when nobody can be writing them any more. No foreign key: it outlives
-- the tenant.
create table media_leftovers (
    tenant_id uuid not null,
    id uuid not null,
    due_at timestamptz,
    constraint media_leftovers_pk primary key (tenant_id, id)
);

create function media_leaves() returns trigger language plpgsql as $$
begin
    insert into media_leftovers (tenant_id, id)
    select tenant_id, id
    from gone
    on conflict do nothing;
    return null;
end
$$;
create trigger media_leaves after delete on media referencing old table as gone for each statement execute function media_leaves();

-- What a Page has uploaded to Messenger already: an attachment id serves for 90 days.
create table media_handles (
    tenant_id uuid not null,
    widget_id uuid not null,
    digest bytea not null,
    handle text not null,
    uploaded_at timestamptz not null,
    constraint media_handles_pk primary key (tenant_id, widget_id, digest),
    constraint media_handles_widget_fk foreign key (tenant_id, widget_id) references widgets (tenant_id, id) on delete cascade
);

-- When the error text was last said in the room.
alter table rooms add column error_told_at timestamptz;
