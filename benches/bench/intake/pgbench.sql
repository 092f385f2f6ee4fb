-- 10 tenants with 5 Pages each, 5,000 senders with their rooms open: what the baselines find after a warm-up.
-- Ids are numbers written as UUIDs, so that a script can name them.

create function numbered(n bigint) returns uuid immutable language sql return lpad(to_hex(n), 32, '0')::uuid;

insert into tenants (id, slug, name, status, created_at, updated_at)
select numbered(t), 'tenant-' || t, 'Tenant', 'active', now(), now()
from generate_series(0, 9) t;

insert into widgets (tenant_id, id, channel, name, display_name, color, tags_offered, tags_required, texts, created_at, updated_at)
select numbered(w % 10), numbered(1000 + w), 'messenger', 'Page', 'Page', '#000000', '{}', false, '{}', now(), now()
from generate_series(0, 49) w;

insert into queues (tenant_id, id, name, strategy, accept, offer_timeout_s, offer_timeout_action, wrap_up_s, created_at, updated_at)
select numbered(t), numbered(2000 + t), 'Sales', 'longest_idle', 'manual', 30, 'requeue', 0, now(), now()
from generate_series(0, 9) t;

insert into contacts (tenant_id, id, widget_id, sender_id, name, profile_at, created_at, updated_at)
select numbered(n % 10), gen_random_uuid(), numbered(1000 + n % 50), '71' || lpad(n::text, 14, '0'), 'Anna Example', now(), now(), now()
from generate_series(0, 4999) n;

insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, place_at, opened_at, queued_at)
select tenant_id, gen_random_uuid(), widget_id, id, 'waiting', numbered(2000 + n % 10), now(), now(), now()
from contacts c
cross join lateral (select right(c.sender_id, 14)::bigint as n) s;

-- The same as statements.pgbench, in one call.
create function receive(n bigint) returns void language plpgsql as $$
declare
    tenant uuid := numbered(n % 10);
    widget uuid := numbered(1000 + n % 50);
    contact uuid;
    room uuid;
    seq bigint;
begin
    insert into contacts (tenant_id, id, widget_id, sender_id, last_inbound_at, created_at, updated_at)
    values (tenant, gen_random_uuid(), widget, '71' || lpad(n::text, 14, '0'), now(), now(), now())
    on conflict on constraint contacts_sender_key do update set last_inbound_at = excluded.last_inbound_at
    returning id into contact;

    select r.id, r.last_seq into room, seq
    from rooms r
    where r.tenant_id = tenant and r.contact_id = contact and r.status <> 'closed'
    for update;
    if not found then
        insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, place_at, opened_at, queued_at)
        values (tenant, gen_random_uuid(), widget, contact, 'waiting', numbered(2000 + n % 10), now(), now(), now())
        returning id, last_seq into room, seq;
    end if;

    insert into messages (tenant_id, id, room_id, widget_id, seq, direction, author_kind, author_name, content, status, external_id,
        external_at, created_at)
    values (tenant, gen_random_uuid(), room, widget, seq + 1, 'inbound', 'contact', 'Anna Example',
        '{"kind":"text","text":"Is my order number 12345 on its way? Thank you!"}', 'received',
        'm_' || md5(random()::text) || md5(random()::text), now(), now())
    on conflict (tenant_id, hashtextextended(external_id, 0), hashtextextended(external_id, uuid_hash_extended(widget_id, 1))) where external_id is not null do nothing;

    update rooms r
    set last_seq = seq + 1, unread = unread + 1
    where r.tenant_id = tenant and r.id = room;
end $$;
