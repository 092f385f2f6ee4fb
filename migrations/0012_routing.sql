-- What a supervisor needs of routing: more settings of queues, what timers look at, and the log of every decision.

alter table queues
    -- A contact who comes back within so many minutes is offered first to the agent they had; 0: off.
    add column sticky_minutes integer not null default 0,
    -- Rooms that have waited so long in this queue go to the other one. Both or neither.
    add column overflow_after_s integer,
    add column overflow_queue_id uuid,
    add column max_waiting_text text not null default '',
    add column service_level_s integer not null default 60,
    add column waiting_text text not null default '',
    -- Null: said once.
    add column waiting_text_every_s integer,
    -- Silence of the contact: reminder, then (so many minutes later) the end. Null: off.
    add column contact_silent_minutes integer,
    add column contact_silent_text text not null default '',
    add column contact_close_minutes integer,
    -- Silence of the agent while the contact waits: flagged, then (so many minutes later) back to the queue. Null: off.
    add column agent_silent_minutes integer,
    add column agent_return_minutes integer,
    add constraint queues_overflow_fk foreign key (tenant_id, overflow_queue_id) references queues (tenant_id, id),
    add constraint queues_overflow_whole check ((overflow_after_s is null) = (overflow_queue_id is null));

alter table rooms
    -- The oldest message of the contact that nobody has answered, and the last answer if the contact has not written since.
    -- Neither is indexed, so that a message stays a cheap update; timers look at active rooms only, and those are few.
    add column unanswered_since timestamptz,
    add column answered_at timestamptz,
    -- The contact was reminded in the present silence.
    add column reminded_at timestamptz,
    -- The agent was found silent while the contact waits.
    add column agent_silent_at timestamptz,
    -- The queue's text was last said.
    add column waiting_told_at timestamptz;
create index rooms_active on rooms (tenant_id, queue_id) where status = 'active';
create index rooms_queued on rooms (tenant_id, queue_id, queued_at) where status = 'waiting';
create index rooms_told on rooms (tenant_id, queue_id, waiting_told_at) where status = 'waiting';
create index rooms_wrapped_up on rooms (seat_until) where seat_until is not null;
-- Seats are taken by rooms that ring, are held, or are being wrapped up.
drop index rooms_seats;
create index rooms_seats on rooms (tenant_id, agent_id) where status in ('offered', 'active') or seat_until is not null;

-- Every decision about a room with its reason, written in the transaction that decides. Partitioned by day and dropped by retention
-- like the events. `wait_s` is how long the room had waited when it was answered or lost: what the live view counts and estimates by.
create sequence routing_log_seq;
create table routing_log (
    tenant_id uuid not null,
    room_id uuid not null,
    -- Drawn while the room is locked, so a room's decisions are in order whichever process took them.
    seq bigint not null default nextval('routing_log_seq'),
    at timestamptz not null,
    decision text not null,
    reason text,
    queue_id uuid,
    -- The agent it is about, and the person who decided, if it was one.
    agent_id uuid,
    by_id uuid,
    wait_s integer,
    detail jsonb,
    constraint routing_log_pk primary key (tenant_id, room_id, seq, at)
) partition by range (at);
alter sequence routing_log_seq owned by routing_log.seq;
create table routing_log_default partition of routing_log default;
create index routing_log_waits on routing_log (tenant_id, queue_id, at) include (decision, wait_s) where wait_s is not null;
