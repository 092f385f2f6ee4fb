-- How much memory a transaction needs that applies what waits: a text may be as long as a webhook's body, and 500 of those are more than
-- a machine has. In here, so that nobody has to look into the ledger for it.
alter table pending add column bytes integer not null default 0;
update pending p
set bytes = octet_length(l.raw)
from ledger l
where l.tenant_id = p.tenant_id and l.id = p.item_id;
