//! SQL of accepting: one statement writes items down, and those that may be into their rooms.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::BuildHasher,
};

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{ContactId, ItemId, RoomId, TenantId, UserId, WidgetId},
    intake::{NewItem, Plain, strands::Strand},
    rooms::{
        receive::IntoRooms,
        store::receive::{Known, OpenRoom},
    },
};

/// Where a message may be stored at once.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Ready {
    pub tenant: TenantId,
    pub widget: WidgetId,
    /// With the room, not locked.
    pub contact: Known,
    /// The room's row as it was found.
    pub version: Version,
}

/// A row as it was found: where it lay, and the transaction that wrote it. Whatever changes it lays another one elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Version {
    ctid: String,
    xmin: String,
}

/// Where these messages may be stored at once, by their number: their contacts' open rooms. Nothing is locked: [`insert_items`] finds the
/// rooms as they were found here, or leaves them alone.
///
/// # Errors
/// The database's.
pub async fn find_ready(db: &mut PgConnection, messages: &[(&NewItem, &Plain)]) -> sqlx::Result<Vec<(usize, Ready)>> {
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &messages.iter().map(|($it, _)| $value).collect::<Vec<_>>()
        };
    }
    let rows = sqlx::query!(
        r#"select i.nth as "nth!", w.tenant_id, w.id as widget_id, c.id as contact_id, c.name, c.is_settled as "is_settled!",
            r.id as room_id, r.agent_id, r.last_seq, r.ctid::text as "ctid!", r.xmin::text as "xmin!"
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) with ordinality as i (owner, app, page_id, sender, nth)
        -- The limits are there for their order: one after the other for each message, by key.
        cross join lateral (
            select tenant_id, id
            from widgets
            where meta_app_owner = i.owner and meta_app_id = i.app and page_id = i.page_id
            limit 1) as w
        cross join lateral (
            select id, name, last_inbound_at is not null and thread_owner is null as is_settled
            from contacts
            where tenant_id = w.tenant_id and widget_id = w.id and sender_id = i.sender and referral is null
            limit 1) as c
        cross join lateral (
            select id, agent_id, last_seq, ctid, xmin
            from rooms
            where tenant_id = w.tenant_id and contact_id = c.id and status <> 'closed'
            limit 1) as r"#,
        column!(|it| it.owner.0),
        column!(|it| it.app.0),
        column!(|it| &*it.page_id) as &[&str],
        column!(|it| &*it.sender) as &[&str],
    )
    .fetch_all(db)
    .await?;
    let ready = rows.into_iter().filter_map(|it| {
        let room = OpenRoom { id: RoomId(it.room_id), agent: it.agent_id.map(UserId), last_seq: it.last_seq };
        let contact = Known {
            id: ContactId(it.contact_id),
            name: it.name,
            referral: None,
            room: Some(room),
            is_new: false,
            is_settled: it.is_settled,
        };
        let (tenant, widget) = (TenantId(it.tenant_id), WidgetId(it.widget_id));
        let version = Version { ctid: it.ctid, xmin: it.xmin };
        Some((usize::try_from(it.nth - 1).ok()?, Ready { tenant, widget, contact, version }))
    });
    Ok(ready.collect())
}

/// Items of one kind that were settled at once, because nobody needs to apply them.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Settled {
    pub kind: String,
    pub state: &'static str,
    pub count: u64,
}

/// What a write has done.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Where items wait now.
    pub strands: Vec<Strand>,
    /// Those that do not.
    pub settled: Vec<Settled>,
    /// Items that are in their rooms already.
    pub stored: HashSet<ItemId>,
    /// Whose rooms show them.
    pub shown: BTreeSet<TenantId>,
}

/// Writes items down, and what [`find_ready`] let into its rooms, one statement for all of them. The page finds its widget here, so that no
/// cache can be stale.
///
/// A room is written into if its row is the `versions` one, nobody else holds it, nothing of its contact's strand waits to be applied, and
/// none of the messages is there already or was changed before it came. What another process accepted and has not begun to apply is seen
/// as waiting; what it has begun to apply holds the room, or is seen.
///
/// # Errors
/// The database's; nothing is stored then.
pub async fn insert_items<S: BuildHasher>(
    db: &mut PgConnection,
    items: &[NewItem],
    IntoRooms { rooms, wrote, messages, events }: &IntoRooms,
    versions: &HashMap<RoomId, Version, S>,
    now: Moment,
) -> sqlx::Result<Written> {
    macro_rules! column {
        ($of:expr, |$it:ident| $value:expr) => {
            &$of.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    let room_of: HashMap<_, _> = messages.iter().map(|it| (ItemId(it.view.id.0), it.view.room_id.0)).collect();
    let shard_of: HashMap<_, _> = items.iter().map(|it| (it.id, it.shard)).collect();
    // There is one for each room.
    let unknown = Version::default();
    let version_of = |room: RoomId| versions.get(&room).unwrap_or(&unknown);
    let contacts: HashMap<_, _> = messages.iter().map(|it| (it.view.author.id, it.view.room_id.0)).collect();
    let rows = sqlx::query!(
        r#"with item as materialized (
            select *, nextval('ledger_seq') as seq
            from (
                select coalesce(w.tenant_id, i.owner) as tenant_id, i.id, i.shard, i.app, w.id as widget_id, i.lane, i.page_id, i.sender, i.kind,
                    case when w.id is null and i.state is null then 'ignored' else i.state end as state,
                    case when w.id is null and i.state is null then 'unknown page' else i.outcome end as outcome,
                    i.raw, i.entry_time, i.received_at, i.room_id
                from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                    $10::text[], $11::bytea[], $12::bigint[], $13::timestamptz[], $14::uuid[]) with ordinality
                    as i (id, owner, app, shard, lane, page_id, sender, kind, state, outcome, raw, entry_time, received_at, room_id, nth)
                left join widgets w on w.meta_app_owner = i.owner and w.meta_app_id = i.app and w.page_id = i.page_id
                order by i.nth) as in_order
        ), message as materialized (
            select *
            from unnest($16::uuid[], $17::uuid[], $18::uuid[], $19::smallint[], $20::uuid[], $21::uuid[], $22::bigint[], $23::timestamptz[],
                $24::uuid[], $25::text[], $26::jsonb[], $27::text[], $28::text[])
                as m (id, tenant_id, widget_id, shard, room_id, agent_id, seq, at, contact_id, author_name, content, external_id, event)
        ), clear as materialized (
            select m.id
            from message m
            -- The limit is there for its order, as above.
            cross join lateral (
                select
                where not exists (
                    select
                    from pending
                    where tenant_id = m.tenant_id and shard = m.shard)
                  and not exists (
                    select
                    from messages
                    where tenant_id = m.tenant_id
                      and widget_id = m.widget_id
                      and hashtextextended(external_id, 0) = hashtextextended(m.external_id, 0)
                      and hashtextextended(external_id, uuid_hash_extended(widget_id, 1))
                        = hashtextextended(m.external_id, uuid_hash_extended(m.widget_id, 1))
                      and external_id is not null)
                  and not exists (
                    select
                    from early_changes
                    where tenant_id = m.tenant_id and widget_id = m.widget_id and external_id = m.external_id)
                limit 1) as nothing
        ), blocked as materialized (
            select room_id
            from message
            where id not in (select id from clear)
        ), free as materialized (
            select r.ctid, t.received, t.wrote_at
            from unnest($29::text[], $30::uuid[], $31::text[], $32::integer[], $33::timestamptz[])
                as t (ctid, id, xmin, received, wrote_at)
            join rooms r on r.ctid = t.ctid::tid and r.xmin = t.xmin::xid and r.id = t.id
            where t.id not in (select room_id from blocked)
            for no key update of r skip locked
        ), moved as (
            update rooms r
            set last_seq = r.last_seq + f.received, unread = r.unread + f.received, wrote_at = greatest(r.wrote_at, f.wrote_at),
                unanswered_since = coalesce(r.unanswered_since, $15), answered_at = null, reminded_at = null
            from free f
            where r.ctid = f.ctid
            returning r.id
        ), failed as materialized (
            select t.id
            from unnest($30::uuid[]) as t (id)
            where t.id not in (select id from moved)
        ), told as materialized (
            -- All rooms are locked by now.
            select events_xid() as xid
            from (select count(*) from moved) as done
        ), wrote as (
            update contacts c
            set last_inbound_at = greatest(c.last_inbound_at, w.at),
                thread_owner = case when c.thread_owner_at < w.at then null else c.thread_owner end
            from unnest($34::uuid[], $35::uuid[], $36::timestamptz[], $37::uuid[]) as w (tenant_id, id, at, room_id)
            where c.tenant_id = w.tenant_id and c.id = w.id and w.room_id not in (select id from failed)
        ), written as (
            insert into ledger (tenant_id, id, seq, shard, meta_app_id, widget_id, lane, page_id, sender_id, kind, state, outcome, raw,
                entry_time, received_at, written_at)
            select tenant_id, id, seq, shard, app, widget_id, lane, page_id, sender, kind, state, outcome, raw, entry_time, received_at,
                $15::timestamptz
            from item
        ), waits as materialized (
            select tenant_id, shard, seq, id, received_at, octet_length(raw) as bytes
            from item
            where state is null and (room_id is null or room_id in (select id from failed))
        ), waiting as (
            insert into pending (tenant_id, shard, seq, item_id, received_at, bytes)
            select *
            from waits
        ), stored as (
            insert into messages (tenant_id, widget_id, external_at, id, room_id, seq, direction, author_kind, author_id, author_name,
                content, status, external_id, created_at)
            select tenant_id, widget_id, at, id, room_id, seq, 'inbound', 'contact', contact_id, author_name, content, 'received',
                external_id, $15
            from message
            where room_id not in (select id from failed)
        ), logged as (
            insert into events (xid, at, tenant_id, kind, room_id, agent_id, data)
            select (select xid from told), $15, tenant_id, 'message.created', room_id, agent_id, event::json
            from message
            where room_id not in (select id from failed)
        )
        select distinct tenant_id as "tenant_id?", shard as "shard?", null as kind, null as state, 0::bigint as "count!",
            null::uuid as failed
        from waits
        union all
        select null, null, kind, state, count(*), null
        from item
        where state is not null
        group by kind, state
        union all
        select null, null, null, null, 0, id
        from failed"#,
        column!(items, |it| it.id.0),
        column!(items, |it| it.owner.0),
        column!(items, |it| it.app.0),
        column!(items, |it| it.shard),
        column!(items, |it| it.lane) as &[&str],
        column!(items, |it| &*it.page_id) as &[&str],
        column!(items, |it| &*it.sender) as &[&str],
        column!(items, |it| &*it.kind) as &[&str],
        column!(items, |it| it.state) as &[Option<&str>],
        column!(items, |it| it.outcome) as &[Option<&str>],
        column!(items, |it| &*it.raw) as &[&[u8]],
        column!(items, |it| it.entry_time) as &[Option<i64>],
        column!(items, |it| it.received_at),
        column!(items, |it| room_of.get(&it.id).copied()) as &[Option<Uuid>],
        now,
        column!(messages, |it| it.view.id.0),
        column!(messages, |it| it.tenant.0),
        column!(messages, |it| it.widget.0),
        column!(messages, |it| shard_of.get(&ItemId(it.view.id.0)).copied().unwrap_or_default()),
        column!(messages, |it| it.view.room_id.0),
        column!(events, |it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(messages, |it| it.view.seq),
        column!(messages, |it| it.external_at) as &[Option<Moment>],
        column!(messages, |it| it.view.author.id) as &[Option<Uuid>],
        column!(messages, |it| &*it.view.author.name) as &[&str],
        column!(messages, |it| Json(&it.view.content)) as &[Json<&Value>],
        column!(messages, |it| it.view.external_id.as_deref()) as &[Option<&str>],
        column!(events, |it| it.data.get()) as &[&str],
        column!(rooms, |it| &*version_of(it.found.id).ctid) as &[&str],
        column!(rooms, |it| it.found.id.0),
        column!(rooms, |it| &*version_of(it.found.id).xmin) as &[&str],
        column!(rooms, |it| it.received),
        column!(rooms, |it| it.wrote_at),
        column!(wrote, |it| it.tenant.0),
        column!(wrote, |it| it.contact.0),
        column!(wrote, |it| it.at),
        column!(wrote, |it| contacts.get(&Some(it.contact.0)).copied().unwrap_or_default()),
    )
    .fetch_all(db)
    .await?;
    let (mut written, mut failed) = (Written::default(), HashSet::new());
    for row in rows {
        match (row.tenant_id, row.shard, row.failed) {
            (Some(tenant), Some(shard), _) => written.strands.push((TenantId(tenant), shard)),
            (_, _, Some(room)) => drop(failed.insert(RoomId(room))),
            _ => written.settled.push(Settled {
                kind: row.kind.unwrap_or_default(),
                state: if row.state.as_deref() == Some("parked") { "parked" } else { "ignored" },
                count: u64::try_from(row.count).unwrap_or(0),
            }),
        }
    }
    for it in messages.iter().filter(|it| !failed.contains(&it.view.room_id)) {
        written.stored.insert(ItemId(it.view.id.0));
        written.shown.insert(it.tenant);
    }
    Ok(written)
}
