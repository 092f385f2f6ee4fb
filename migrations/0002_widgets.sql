-- Meta apps, the Pages connected under them, and when and where their rooms are answered.

-- How a webhook finds its app: by the unguessable key of its URL, before any tenant is known. tenant_id is the nil UUID for an
-- operator's app that serves many tenants, hence no foreign key to tenants.
create table meta_apps (
    tenant_id uuid not null,
    id uuid not null,
    app_id text not null,
    app_name text,
    key text not null,
    verify_token text not null,
    -- Sealed (see seal.rs). The previous secret stays valid for 24 h after a change.
    app_secret bytea not null,
    previous_app_secret bytea,
    previous_until timestamptz,
    verified_at timestamptz,
    last_event_at timestamptz,
    -- Wrong or missing signatures since the last right one, and when: shown as the widgets' health.
    signature_failures bigint not null default 0,
    signature_failed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint meta_apps_pk primary key (tenant_id, id),
    constraint meta_apps_app_key unique (tenant_id, app_id)
);
create unique index meta_apps_url_key on meta_apps (key);

create table widgets (
    tenant_id uuid not null,
    id uuid not null,
    channel text not null,
    name text not null,
    display_name text not null,
    color text not null,
    tags_offered text[] not null,
    tags_required boolean not null,
    texts jsonb not null,
    human_agent boolean not null default false,
    meta_app_owner uuid,
    meta_app_id uuid,
    page_id text,
    page_name text,
    page_token bytea,
    -- 'ok', or 'dead' after the Graph API refused the token: replies wait until a new one comes.
    page_token_state text not null default 'ok',
    health_state text not null default 'unchecked',
    health_checks jsonb not null default '[]',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint widgets_pk primary key (tenant_id, id),
    constraint widgets_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade,
    constraint widgets_app_fk foreign key (meta_app_owner, meta_app_id) references meta_apps (tenant_id, id),
    constraint widgets_health_known check (health_state in ('ok', 'unchecked', 'attention', 'disconnected')),
    constraint widgets_token_state_known check (page_token_state in ('ok', 'dead'))
);
-- How an item finds its widget: one Page once per app, whoever's tenant it is.
create unique index widgets_page_key on widgets (meta_app_owner, meta_app_id, page_id) where page_id is not null;

create table working_hours (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    schedule jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint working_hours_pk primary key (tenant_id, id),
    constraint working_hours_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade
);

create table queues (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    strategy text not null,
    accept text not null,
    offer_timeout_s integer not null,
    offer_timeout_action text not null,
    max_waiting integer,
    wrap_up_s integer not null,
    -- 1 is served first, 10 last.
    priority integer not null default 5,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint queues_pk primary key (tenant_id, id),
    constraint queues_name_key unique (tenant_id, name),
    constraint queues_tenant_fk foreign key (tenant_id) references tenants (id) on delete cascade,
    constraint queues_strategy_known check (strategy in ('longest_idle', 'least_busy', 'round_robin')),
    constraint queues_accept_known check (accept in ('manual', 'auto')),
    constraint queues_action_known check (offer_timeout_action in ('requeue', 'requeue_and_away'))
);

create table queue_members (
    tenant_id uuid not null,
    queue_id uuid not null,
    user_id uuid not null,
    priority integer not null,
    constraint queue_members_pk primary key (tenant_id, queue_id, user_id),
    constraint queue_members_queue_fk foreign key (tenant_id, queue_id) references queues (tenant_id, id) on delete cascade,
    constraint queue_members_agent_fk foreign key (tenant_id, user_id) references agents (tenant_id, user_id) on delete cascade
);
create index queue_members_user on queue_members (tenant_id, user_id);

create table incoming_chats (
    tenant_id uuid not null,
    id uuid not null,
    name text not null,
    widget_id uuid not null,
    queue_id uuid not null,
    working_hours_id uuid,
    offline_message text not null,
    after_hours text not null,
    enabled boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint incoming_chats_pk primary key (tenant_id, id),
    constraint incoming_chats_widget_key unique (tenant_id, widget_id),
    constraint incoming_chats_widget_fk foreign key (tenant_id, widget_id) references widgets (tenant_id, id) on delete cascade,
    constraint incoming_chats_queue_fk foreign key (tenant_id, queue_id) references queues (tenant_id, id),
    constraint incoming_chats_hours_fk foreign key (tenant_id, working_hours_id) references working_hours (tenant_id, id),
    constraint incoming_chats_after_hours_known check (after_hours in ('close', 'hold'))
);
