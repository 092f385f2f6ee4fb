-- A receipt may come before what it speaks of has its time or its id: while the answer to a send is on its way or was lost, or before
-- the echo of a message from elsewhere. It is kept until then.
alter table contacts
    -- Everything sent to the contact up to here has arrived, and has been read; by the channel's clock. Deliveries write it only where
    -- something may still come that they speak of: most find their messages, and leave this row alone.
    add column delivered_until timestamptz,
    add column read_until timestamptz;

-- Receipts that name a message.
alter table early_changes
    drop constraint early_changes_kind_known,
    add constraint early_changes_kind_known check (kind in ('edit', 'unsent', 'reaction', 'delivered', 'read'));
