-- The two big, fast logs. Both are partitioned by day through the time inside their UUIDv7 or their own time, and dropped by
-- retention, so that the cost of a message does not grow with history. A default partition catches what has no day yet, so that a
-- missing partition can never refuse a message.

create sequence ledger_seq;

-- One row per item of a webhook. The row is the promise made by a 200.
create table ledger (
    tenant_id uuid not null,
    id uuid not null,
    -- Order of acceptance.
    seq bigint not null default nextval('ledger_seq'),
    -- Items of one (page, sender) share a shard; a shard is applied by one worker at a time, in order of seq.
    shard smallint not null,
    meta_app_id uuid not null,
    widget_id uuid,
    lane text not null,
    page_id text not null,
    sender_id text not null,
    kind text not null,
    state text not null,
    -- Why it is ignored or parked, or what it became.
    outcome text,
    -- The item as it came; bytes, because PostgreSQL text refuses some of what Meta may send.
    raw bytea not null,
    entry_time bigint,
    deliveries integer not null default 1,
    attempts integer not null default 0,
    room_id uuid,
    message_id uuid,
    received_at timestamptz not null,
    applied_at timestamptz,
    constraint ledger_pk primary key (tenant_id, id),
    constraint ledger_state_known check (state in ('pending', 'applied', 'duplicate', 'parked', 'ignored'))
) partition by range (id);
alter sequence ledger_seq owned by ledger.seq;
create table ledger_default partition of ledger default;
create index ledger_pending on ledger (shard, seq) where state = 'pending';
create index ledger_of_message on ledger (tenant_id, message_id) where message_id is not null;

-- What happened to rooms, in the order of the cursor (xid, seq). A plain sequence may show 11 before 10 is committed and a reader
-- would miss 10; readers take rows whose transaction is below every running one.
create sequence events_seq;
create table events (
    tenant_id uuid not null,
    xid xid8 not null default pg_current_xact_id(),
    seq bigint not null default nextval('events_seq'),
    at timestamptz not null,
    kind text not null,
    room_id uuid,
    -- The agents who may see it: the one it concerns, and the one who has just lost the room. Supervisors and admins see all.
    agent_id uuid,
    former_agent_id uuid,
    data jsonb not null,
    constraint events_pk primary key (tenant_id, xid, seq, at)
) partition by range (at);
alter sequence events_seq owned by events.seq;
create table events_default partition of events default;
