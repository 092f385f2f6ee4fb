-- Tenants, the people who work for them, and how callers prove who they are.
-- tenant_id leads every key of tenant data, so that the schema can be distributed by tenant.

create table tenants (
    id uuid not null,
    slug text not null,
    name text not null,
    status text not null default 'active',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint tenants_pk primary key (id),
    constraint tenants_slug_key unique (slug),
    constraint tenants_status_known check (status in ('active', 'suspended'))
);

-- Only the SHA-256 of a token or key is stored; the token itself is shown once.
create table operator_tokens (
    token_hash bytea not null,
    name text not null,
    created_at timestamptz not null,
    constraint operator_tokens_pk primary key (token_hash)
);

create table users (
    tenant_id uuid not null,
    id uuid not null,
    email text not null,
    name text not null,
    password_hash text not null,
    roles text[] not null,
    active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint users_pk primary key (tenant_id, id),
    constraint users_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade
);
create unique index users_email_key on users (tenant_id, lower(email));

-- The working side of a user: one row per user, locked by whoever gives or takes rooms, so that seats are counted right.
create table agents (
    tenant_id uuid not null,
    user_id uuid not null,
    max_chats integer not null,
    status text not null default 'offline',
    status_reason text,
    status_since timestamptz not null,
    -- Since when the agent has been without anything new to do: the last of going ready, being given a room, ending one.
    idle_since timestamptz not null,
    -- When the agent was last given a room.
    given_at timestamptz,
    -- When an event stream of this agent was last seen open; null for callers who never open one, who are left alone.
    stream_seen_at timestamptz,
    constraint agents_pk primary key (tenant_id, user_id),
    constraint agents_user_fk foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade,
    constraint agents_status_known check (status in ('ready', 'away', 'offline')),
    constraint agents_max_chats_range check (max_chats between 0 and 50)
);
create index agents_streaming on agents (stream_seen_at) where stream_seen_at is not null;

-- The token carries its tenant, so that the look-up leads with it.
create table sessions (
    tenant_id uuid not null,
    token_hash bytea not null,
    user_id uuid not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    constraint sessions_pk primary key (tenant_id, token_hash),
    constraint sessions_user_fk foreign key (tenant_id, user_id) references users (tenant_id, id) on delete cascade
);
create index sessions_user on sessions (tenant_id, user_id);
create index sessions_expiry on sessions (expires_at);

create table api_keys (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    scopes text[] not null,
    key_hash bytea not null,
    created_at timestamptz not null,
    last_used_at timestamptz,
    constraint api_keys_pk primary key (tenant_id, id),
    constraint api_keys_hash_key unique (tenant_id, key_hash),
    constraint api_keys_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade
);

-- Who changed what in the settings; never holds secrets.
create table audit_log (
    tenant_id uuid not null,
    id uuid not null,
    at timestamptz not null,
    actor_kind text not null,
    actor_id uuid,
    actor_name text not null,
    action text not null,
    target_id text,
    constraint audit_log_pk primary key (tenant_id, id),
    constraint audit_log_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade
);
