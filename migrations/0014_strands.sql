-- Items are applied by strand: a tenant's part of a shard. Sixteen shards for each tenant are as many as 64 for all of them were, and
-- a worker can take one tenant's items without reading past another's flood.

drop index ledger_pending;
update ledger set shard = shard % 16 where state = 'pending' and shard >= 16;
create index ledger_pending on ledger (tenant_id, shard, seq) where state = 'pending';
