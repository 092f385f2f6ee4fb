-- The default of events.xid knows who had ended when its statement began (0079). A statement that locks rooms itself and then tells about
-- them asks once it has them all: whoever held one of them has ended by then. In plpgsql, which looks anew; SQL would be inlined and see
-- what its statement sees.
create function events_xid() returns xid8 volatile language plpgsql as $$
begin
    return greatest(
        pg_current_xact_id(),
        (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8);
end
$$;
