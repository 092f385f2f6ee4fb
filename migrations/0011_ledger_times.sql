-- What the ledger's own API tells: when an item was written down, and that what waits can be applied.

-- When the write that holds the item began; it was durable one commit later, before Facebook was answered.
alter table ledger add column written_at timestamptz;

-- Nobody could apply an item whose Page is unknown: it would hold up its shard for ever.
update ledger set state = 'ignored', outcome = 'unknown page' where state = 'pending' and widget_id is null;
alter table ledger add constraint ledger_pending_has_widget check (state <> 'pending' or widget_id is not null);

-- What somebody should look at is rare and must be found at once, however much is in the ledger.
create index ledger_parked on ledger (tenant_id, id) where state = 'parked';

-- When a room was last offered: one of the steps of "where is my message".
alter table rooms add column offered_at timestamptz;
