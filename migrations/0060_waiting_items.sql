-- What waits to be applied is in a table of its own, where rows come and go. A ledger row is then written once: an item that became
-- its message needs no second word, because the message has the item's id. Only what became something else says so in `state`.

create table pending (
    tenant_id uuid not null,
    shard smallint not null,
    -- The item's, so that a strand is applied in order of acceptance.
    seq bigint not null,
    item_id uuid not null,
    received_at timestamptz not null,
    constraint pending_pk primary key (tenant_id, shard, seq)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
insert into pending (tenant_id, shard, seq, item_id, received_at)
select tenant_id, shard, seq, id, received_at
from ledger
where state = 'pending';

drop index ledger_pending;
alter table ledger
    drop constraint ledger_state_known,
    drop constraint ledger_pending_has_widget,
    alter column state drop not null;
-- Null: it waits as long as it is in `pending`, and has then become the message of its id.
update ledger set state = null where state = 'pending';
alter table ledger
    add constraint ledger_state_known check (state in ('applied', 'duplicate', 'parked', 'ignored')),
    add constraint ledger_waiting_has_widget check (state is not null or widget_id is not null);

-- The ledger as people read it. `settled` is the state where the row says it itself; `stored_message_id` is null where the message
-- it names, or should have become, is not there.
create view ledger_items as
select l.tenant_id, l.id, l.seq, l.widget_id, l.page_id, l.sender_id, l.lane, l.kind, l.state as settled,
    coalesce(l.state, case when p.item_id is null then 'applied' else 'pending' end) as state,
    l.outcome, l.deliveries, l.attempts + case when l.state is null and p.item_id is null then 1 else 0 end as attempts,
    coalesce(l.room_id, m.room_id) as room_id, coalesce(l.message_id, m.id) as message_id, m.id as stored_message_id,
    l.received_at, l.written_at, coalesce(l.applied_at, m.created_at) as applied_at
from ledger l
left join pending p
  on l.state is null and p.tenant_id = l.tenant_id and p.shard = l.shard and p.seq = l.seq and p.item_id = l.id
left join messages m
  on m.tenant_id = l.tenant_id and m.id = coalesce(l.message_id, l.id);
