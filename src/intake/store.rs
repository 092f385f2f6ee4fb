//! SQL of the ledger's writing side: accepting and applying.

pub mod accept;
pub mod ledger;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::strands::Strand;
use crate::{
    clock::Moment,
    ids::{ItemId, MessageId, MetaAppId, RoomId, TenantId, WidgetId},
    rooms::events::{self, NewEvent},
    widgets::store::lock_widget,
};

/// A Meta app as a webhook needs it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct StoredApp {
    pub owner: TenantId,
    pub id: MetaAppId,
    pub verify_token: String,
    pub app_secret: Vec<u8>,
    pub previous_app_secret: Option<Vec<u8>>,
    pub previous_until: Option<Moment>,
}

/// The app behind a callback's key.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_app(db: &PgPool, key: &str) -> sqlx::Result<Option<StoredApp>> {
    let row = sqlx::query!(
        "select tenant_id, id, verify_token, app_secret, previous_app_secret, previous_until
        from meta_apps
        where key = $1",
        key,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|it| StoredApp {
        owner: TenantId(it.tenant_id),
        id: MetaAppId(it.id),
        verify_token: it.verify_token,
        app_secret: it.app_secret,
        previous_app_secret: it.previous_app_secret,
        previous_until: it.previous_until,
    }))
}

/// The callback was verified.
/// Tells the tenants of its widgets, who may be setting them up at this moment; returns these tenants.
pub async fn mark_verified(db: &PgPool, owner: TenantId, app: MetaAppId, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    sqlx::query!("update meta_apps set verified_at = $3 where tenant_id = $1 and id = $2", owner.0, app.0, now)
        .execute(db)
        .await?;
    tell_of_health(db, owner, app, now).await
}

/// Events came, rightly signed. The first ones of all, and the first after wrong signatures, are told to the tenants of the app's widgets,
/// who are returned.
pub async fn mark_events(db: &PgPool, owner: TenantId, app: MetaAppId, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let is_news = sqlx::query_scalar!(
        r#"update meta_apps a
        set last_event_at = $3, signature_failures = 0
        from meta_apps old
        where a.tenant_id = $1 and a.id = $2 and old.tenant_id = $1 and old.id = $2
        returning old.last_event_at is null or old.signature_failures > 0 as "is_news!""#,
        owner.0,
        app.0,
        now,
    )
    .fetch_optional(db)
    .await?;
    if is_news == Some(true) { tell_of_health(db, owner, app, now).await } else { Ok(Vec::new()) }
}

/// So many signatures were wrong. The first ones are told to the tenants of the app's widgets, who are returned.
pub async fn mark_bad_signatures(
    db: &PgPool,
    owner: TenantId,
    app: MetaAppId,
    more: u32,
    now: Moment,
) -> sqlx::Result<Vec<TenantId>> {
    let failures = sqlx::query_scalar!(
        "update meta_apps
        set signature_failures = signature_failures + $4, signature_failed_at = $3
        where tenant_id = $1 and id = $2
        returning signature_failures",
        owner.0,
        app.0,
        now,
        i64::from(more),
    )
    .fetch_optional(db)
    .await?;
    if failures == Some(i64::from(more)) { tell_of_health(db, owner, app, now).await } else { Ok(Vec::new()) }
}

/// Tells the tenants of an app's widgets how these are. A transaction of its own: whoever changes a widget locks it before its app.
async fn tell_of_health(db: &PgPool, owner: TenantId, app: MetaAppId, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let mut tx = crate::db::begin(db).await?;
    let widgets = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", id as "id: WidgetId"
        from widgets
        where meta_app_owner = $1 and meta_app_id = $2
        order by tenant_id, id"#,
        owner.0,
        app.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut tenants = Vec::new();
    for widget in widgets {
        if let Some(stored) = lock_widget(&mut tx, widget.tenant_id, widget.id).await? {
            events::append(&mut tx, now, &[NewEvent::widget_health(widget.tenant_id, &stored.view())]).await?;
            tenants.push(widget.tenant_id);
        }
    }
    tx.commit().await?;
    tenants.dedup();
    Ok(tenants)
}

/// What waits to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// How many items, counted up to 100,000.
    pub items: i32,
    /// When the oldest and the newest of them came.
    pub oldest: Option<Moment>,
    /// See there.
    pub newest: Option<Moment>,
}

/// How far applying is behind.
pub async fn load_backlog(db: &PgPool) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"select count(*)::integer as "items!", min(received_at) as oldest, max(received_at) as newest
        from (select received_at from pending limit 100000) as waiting"#,
    )
    .fetch_one(db)
    .await
}

/// Strands found in one search; the next one finds more.
const MOST_FOUND: i64 = 10_000;

/// Strands in which something waits, found by leaping from one to the next in the index, so that the length of a backlog does not matter.
pub async fn list_pending_strands(db: &PgPool) -> sqlx::Result<Vec<Strand>> {
    let mut tx = crate::db::begin(db).await?;
    // Else all that waits is sorted once for each strand, because tables that were small when they were analyzed are cheap to sort.
    sqlx::query!(
        "select set_config('enable_seqscan', 'off', true) as no_tables, set_config('enable_bitmapscan', 'off', true) as no_bitmaps,
            set_config('enable_sort', 'off', true) as no_sorting"
    )
    .fetch_one(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        r#"with recursive strand as (
            (select tenant_id, shard
            from pending
            order by tenant_id, shard
            limit 1)
            union all
            select next.tenant_id, next.shard
            from strand
            cross join lateral (
                select p.tenant_id, p.shard
                from pending p
                where (p.tenant_id, p.shard) > (strand.tenant_id, strand.shard)
                order by p.tenant_id, p.shard
                limit 1) as next
        )
        select tenant_id as "tenant_id!", shard as "shard!"
        from strand
        limit $1"#,
        MOST_FOUND,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(|it| (TenantId(it.tenant_id), it.shard)).collect())
}

/// The first half of a strand's key among advisory locks. Two tenants with the same half only wait for each other.
fn lock_space(tenant: TenantId) -> i32 {
    let [.., a, b, c, d] = *tenant.0.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

/// An item that waits to be applied.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Pending {
    pub tenant: TenantId,
    pub id: ItemId,
    pub shard: i16,
    pub seq: i64,
    pub widget: WidgetId,
    pub lane: String,
    pub page_id: String,
    pub sender: String,
    pub kind: String,
    pub raw: Vec<u8>,
    pub entry_time: Option<i64>,
    pub received_at: Moment,
}

/// Bytes of items that are applied together, as far as they are not those of one item: they are in memory several times.
const MOST_BYTES: i64 = 8 * 1024 * 1024;

/// What [`take_pending`] took.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The strands that nobody else is applying, locked until the transaction ends: a killed process lets go with its connection.
    pub ours: Vec<Strand>,
    /// Their oldest items, in order of acceptance.
    pub items: Vec<Pending>,
    /// There may be more: somebody else took some in the moment before the strand was locked, or they are too large to be taken together.
    pub has_more: bool,
}

/// Takes the oldest items of these strands, so many of each: they wait no more, unless the transaction fails. The two slices go together.
///
/// The lock is had after the statement's view of the rows, in which another process may still seem to have left what it has just
/// applied; a row that is gone meanwhile is never deleted twice, so it is not taken twice either.
pub async fn take_pending(tx: &mut PgConnection, strands: &[Strand], most: &[i64]) -> sqlx::Result<Taken> {
    let rows = sqlx::query!(
        r#"with locked as materialized (
            select tenant_id, shard, most, nth, pg_try_advisory_xact_lock(space, shard) as is_ours
            from unnest($1::integer[], $2::uuid[], $3::smallint[], $4::bigint[]) with ordinality as it (space, tenant_id, shard, most, nth)
        ), next as materialized (
            select waiting.*, sum(bytes) over (order by nth, seq) - bytes as bytes_before
            from locked
            cross join lateral (
                select ctid, tenant_id, item_id, seq, bytes
                from pending
                where tenant_id = locked.tenant_id and shard = locked.shard
                order by seq
                limit locked.most) as waiting
            where locked.is_ours
        ), taken as (
            delete from pending p
            using next
            join ledger l on l.tenant_id = next.tenant_id and l.id = next.item_id
            where p.ctid = next.ctid and next.bytes_before < $5
            returning p.seq, l.tenant_id, l.id, l.shard, l.widget_id, l.lane, l.page_id, l.sender_id, l.kind, l.raw, l.entry_time,
                l.received_at
        )
        select null::bigint as ours, (select count(*) from next) as picked, seq, tenant_id as "tenant_id?", id as "id?",
            shard as "shard?", widget_id, lane as "lane?", page_id as "page_id?", sender_id as "sender_id?", kind as "kind?",
            raw as "raw?", entry_time, received_at as "received_at?"
        from taken
        union all
        select nth, (select count(*) from next), null, null, null, null, null, null, null, null, null, null, null, null
        from locked
        where is_ours"#,
        &strands.iter().map(|it| lock_space(it.0)).collect::<Vec<_>>(),
        &strands.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &strands.iter().map(|it| it.1).collect::<Vec<_>>(),
        most,
        MOST_BYTES,
    )
    .fetch_all(tx)
    .await?;
    let mut taken = Taken::default();
    let picked = rows.first().and_then(|it| it.picked).unwrap_or(0);
    for it in rows {
        if let Some(nth) = it.ours {
            taken.ours.extend(usize::try_from(nth - 1).ok().and_then(|nth| strands.get(nth)).copied());
            continue;
        }
        let item = || {
            Some(Pending {
                tenant: TenantId(it.tenant_id?),
                id: ItemId(it.id?),
                shard: it.shard?,
                seq: it.seq?,
                widget: WidgetId(it.widget_id?),
                lane: it.lane?,
                page_id: it.page_id?,
                sender: it.sender_id?,
                kind: it.kind?,
                raw: it.raw?,
                entry_time: it.entry_time,
                received_at: it.received_at?,
            })
        };
        taken.items.extend(item());
    }
    taken.has_more = i64::try_from(taken.items.len()).unwrap_or(0) < picked;
    taken.items.sort_unstable_by_key(|it| it.seq);
    Ok(taken)
}

/// Takes one item, whatever is before it in its strand.
pub async fn take_one(tx: &mut PgConnection, item: &Pending) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from pending where tenant_id = $1 and shard = $2 and seq = $3 and item_id = $4",
        item.tenant.0,
        item.shard,
        item.seq,
        item.id.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What an item has become.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Done {
    pub tenant: TenantId,
    pub id: ItemId,
    pub state: &'static str,
    pub outcome: Option<String>,
    pub room: Option<RoomId>,
    pub message: Option<MessageId>,
}

impl Done {
    /// Whether it is the message of its id now, which says all there is to say.
    fn is_its_message(&self) -> bool {
        self.state == "applied" && self.outcome.is_none() && self.message.is_some_and(|it| it.0 == self.id.0)
    }
}

/// Writes down what items have become; a second delivery is counted at the first.
pub async fn mark_done(tx: &mut PgConnection, done: &[Done], now: Moment) -> sqlx::Result<()> {
    let done: Vec<_> = done.iter().filter(|it| !it.is_its_message()).collect();
    if done.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &done.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "update ledger l
        set state = d.state, outcome = d.outcome, room_id = d.room_id, message_id = d.message_id, applied_at = $7,
            attempts = l.attempts + 1
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[])
            as d (tenant_id, id, state, outcome, room_id, message_id)
        where l.tenant_id = d.tenant_id and l.id = d.id",
        column!(|it| it.tenant.0),
        column!(|it| it.id.0),
        column!(|it| it.state) as &[&str],
        column!(|it| it.outcome.as_deref()) as &[Option<&str>],
        column!(|it| it.room.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.message.map(|id| id.0)) as &[Option<Uuid>],
        now,
    )
    .execute(&mut *tx)
    .await?;
    let again: Vec<_> = done.iter().filter(|it| it.state == "duplicate").collect();
    if !again.is_empty() {
        sqlx::query!(
            "update ledger l
            set deliveries = l.deliveries + d.times
            from (
                select tenant_id, message_id, count(*)::integer as times
                from unnest($1::uuid[], $2::uuid[]) as it (tenant_id, message_id)
                group by tenant_id, message_id) as d
            where l.tenant_id = d.tenant_id
              and (l.id = d.message_id and l.state is null or l.message_id = d.message_id and l.state = 'applied')",
            &again.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
            &again.iter().map(|it| it.message.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}
