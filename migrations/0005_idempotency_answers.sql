-- What an Idempotency-Key was answered is given again word for word, whatever has become of the message since.
-- Keys count for a day only, so those remembered so far are let go.
delete from idempotency_keys;
alter table idempotency_keys
    drop column message_id,
    add column answer jsonb not null;
