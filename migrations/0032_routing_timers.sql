-- Timers begin with the queues that have something to time: so those are found without looking at the others.
create index queues_overflowing on queues (tenant_id, id) where overflow_after_s is not null;
create index queues_telling on queues (tenant_id, id) where waiting_text <> '';
create index queues_minding_contacts on queues (tenant_id, id) where contact_silent_minutes is not null;
create index queues_minding_agents on queues (tenant_id, id) where agent_silent_minutes is not null;
