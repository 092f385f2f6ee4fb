-- Two transactions that wait for one room may get their ids before they get the room, the later one the lower id: its events stood
-- before those of the earlier one. An event now also stands behind every transaction that had ended when its statement began, and whoever
-- held the room before has. That number is never below the writer's own id and never one that is not yet given out, so whoever reads
-- below the oldest running transaction still misses nothing.
alter table events
    alter column xid set default greatest(
        pg_current_xact_id(),
        (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8);
