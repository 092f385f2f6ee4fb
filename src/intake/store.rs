//! SQL of the ledger.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::NewItem;
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
    let mut tx = db.begin().await?;
    sqlx::query!("update meta_apps set verified_at = $3 where tenant_id = $1 and id = $2", owner.0, app.0, now)
        .execute(&mut *tx)
        .await?;
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

/// Events came, rightly signed. Written at most once a second for each app.
pub async fn mark_events(db: &PgPool, owners: &[Uuid], apps: &[Uuid], now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update meta_apps a
        set last_event_at = $3::timestamptz, signature_failures = 0
        from unnest($1::uuid[], $2::uuid[]) as it (owner, id)
        where a.tenant_id = it.owner
          and a.id = it.id
          and (a.last_event_at is null or a.last_event_at < $3::timestamptz - interval '1 second' or a.signature_failures > 0)",
        owners,
        apps,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A signature was wrong.
pub async fn mark_bad_signature(db: &PgPool, owner: TenantId, app: MetaAppId, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update meta_apps
        set signature_failures = signature_failures + 1, signature_failed_at = $3
        where tenant_id = $1 and id = $2",
        owner.0,
        app.0,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes items down, one durable statement for all of them. The page finds its widget here, so that no cache can be stale.
pub async fn insert_items(db: &PgPool, items: &[NewItem]) -> sqlx::Result<()> {
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &items.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into ledger (tenant_id, id, shard, meta_app_id, widget_id, lane, page_id, sender_id, kind, state, outcome, raw, entry_time,
            received_at)
        select coalesce(w.tenant_id, i.owner), i.id, i.shard, i.app, w.id, i.lane, i.page_id, i.sender, i.kind,
            case when w.id is null and i.state = 'pending' then 'ignored' else i.state end,
            case when w.id is null and i.state = 'pending' then 'unknown page' else i.outcome end,
            i.raw, i.entry_time, i.received_at
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::bytea[], $12::bigint[], $13::timestamptz[]) with ordinality
            as i (id, owner, app, shard, lane, page_id, sender, kind, state, outcome, raw, entry_time, received_at, nth)
        left join widgets w on w.meta_app_owner = i.owner and w.meta_app_id = i.app and w.page_id = i.page_id
        order by i.nth",
        column!(|it| it.id.0),
        column!(|it| it.owner.0),
        column!(|it| it.app.0),
        column!(|it| it.shard),
        column!(|it| it.lane.to_owned()),
        column!(|it| it.page_id.clone()),
        column!(|it| it.sender.clone()),
        column!(|it| it.kind.clone()),
        column!(|it| it.state.to_owned()),
        column!(|it| it.outcome.map(str::to_owned)) as &[Option<String>],
        column!(|it| it.raw.clone()),
        column!(|it| it.entry_time) as &[Option<i64>],
        column!(|it| it.received_at),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Shards in which something waits.
pub async fn list_pending_shards(db: &PgPool) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!("select distinct shard from ledger where state = 'pending'").fetch_all(db).await
}

/// First half of the advisory locks' key; the shard is the second.
const LOCK_SPACE: i32 = 0x4347_4c44;

/// Takes those of the shards that nobody else is applying, until the transaction ends. A killed process lets go with its connection.
pub async fn try_lock_shards(tx: &mut PgConnection, shards: &[i16]) -> sqlx::Result<Vec<i16>> {
    let rows = sqlx::query!(
        r#"select shard as "shard!", pg_try_advisory_xact_lock($1, shard::integer) as "is_ours!"
        from unnest($2::smallint[]) as shard"#,
        LOCK_SPACE,
        shards,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().filter(|it| it.is_ours).map(|it| it.shard).collect())
}

/// An item that waits to be applied.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Pending {
    pub tenant: TenantId,
    pub id: ItemId,
    pub widget: WidgetId,
    pub lane: String,
    pub page_id: String,
    pub sender: String,
    pub kind: String,
    pub raw: Vec<u8>,
    pub entry_time: Option<i64>,
    pub received_at: Moment,
}

/// The oldest items of these shards, in order of acceptance.
pub async fn list_pending(tx: &mut PgConnection, shards: &[i16], limit: i64) -> sqlx::Result<Vec<Pending>> {
    let rows = sqlx::query!(
        r#"select tenant_id, id, widget_id as "widget_id!", lane, page_id, sender_id, kind, raw, entry_time, received_at
        from ledger
        where state = 'pending' and shard = any($1)
        order by seq
        limit $2"#,
        shards,
        limit,
    )
    .fetch_all(tx)
    .await?;
    let items = rows.into_iter().map(|it| Pending {
        tenant: TenantId(it.tenant_id),
        id: ItemId(it.id),
        widget: WidgetId(it.widget_id),
        lane: it.lane,
        page_id: it.page_id,
        sender: it.sender_id,
        kind: it.kind,
        raw: it.raw,
        entry_time: it.entry_time,
        received_at: it.received_at,
    });
    Ok(items.collect())
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

/// Writes down what items have become; a second delivery is counted at the first.
pub async fn mark_done(tx: &mut PgConnection, done: &[Done], now: Moment) -> sqlx::Result<()> {
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
        column!(|it| it.state.to_owned()),
        column!(|it| it.outcome.clone()) as &[Option<String>],
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
            where l.tenant_id = d.tenant_id and l.message_id = d.message_id and l.state = 'applied'",
            &again.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
            &again.iter().map(|it| it.message.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}
