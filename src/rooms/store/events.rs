//! SQL of the event log: appending, and reading in the order of its cursor.

use std::collections::HashMap;

use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, UserId},
    rooms::events::{Cursor, EventView, Logged, NewEvent},
};

/// Appends events, one statement for all of them.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn insert_events(tx: &mut PgConnection, now: Moment, events: &[NewEvent]) -> sqlx::Result<()> {
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &events.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into events (at, tenant_id, kind, room_id, agent_id, former_agent_id, data)
        select $1, e.tenant_id, e.kind, e.room_id, e.agent_id, e.former_agent_id, e.data::json
        from unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[])
            as e (tenant_id, kind, room_id, agent_id, former_agent_id, data)",
        now,
        column!(|it| it.tenant.0),
        column!(|it| it.kind.name()) as &[&str],
        column!(|it| it.room.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.former_agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.data.get()) as &[&str],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Events behind `after` that no running transaction can still be overtaking; only those that concern `agent`, if one is given.
pub async fn list_events(
    db: &PgPool,
    tenant: TenantId,
    agent: Option<UserId>,
    after: Cursor,
    limit: i64,
) -> sqlx::Result<Vec<Logged>> {
    let rows = sqlx::query!(
        r#"select xid::text::bigint as "xid!", seq, at, kind, room_id, agent_id, former_agent_id, data as "data: Json<Box<RawValue>>"
        from events
        where tenant_id = $1
          and (xid, seq) > ($2::text::xid8, $3)
          and xid < pg_snapshot_xmin(pg_current_snapshot())
          and ($4::uuid is null or $4 in (agent_id, former_agent_id))
        order by xid, seq
        limit $5"#,
        tenant.0,
        after.xid.to_string(),
        after.seq,
        agent.map(|it| it.0),
        limit,
    )
    .fetch_all(db)
    .await?;
    let events = rows.into_iter().map(|it| {
        let cursor = Cursor { xid: it.xid, seq: it.seq };
        let event = EventView {
            id: cursor.to_string(),
            kind: it.kind,
            at: it.at,
            room_id: it.room_id.map(RoomId),
            data: it.data.0,
        };
        Logged { cursor, agents: [it.agent_id, it.former_agent_id], event }
    });
    Ok(events.collect())
}

/// What [`list_news`] found.
#[derive(Debug, Default)]
pub struct News {
    /// Each with its tenant, in the order of each tenant's log.
    pub events: Vec<(TenantId, Logged)>,
    /// Who may have more, because the limit was reached.
    pub full: Vec<TenantId>,
    /// Who has events that a running transaction can still be overtaking.
    pub held_back: Vec<TenantId>,
}

/// Events of each tenant that [`list_news`] reads. It stands in the statement: a limit that is a parameter would make PostgreSQL
/// plan for a tenth of the log, and plan anew each time.
const MOST_NEWS: i64 = 500;

/// The same as [`list_events`] for several tenants at once, each behind its own cursor.
pub async fn list_news(db: &PgPool, after: &[(TenantId, Cursor)]) -> sqlx::Result<News> {
    let rows = sqlx::query!(
        r#"select f.tenant_id as "tenant_id!", e.xid::text::bigint as "xid!", e.seq, e.at, e.kind, e.room_id, e.agent_id,
            e.former_agent_id, e.is_settled as "is_settled!", case when e.is_settled then e.data end as "data: Json<Box<RawValue>>"
        from unnest($1::uuid[], $2::text[], $3::bigint[]) as f (tenant_id, xid, seq)
        cross join lateral (
            select *, xid < pg_snapshot_xmin(pg_current_snapshot()) as is_settled
            from events
            where tenant_id = f.tenant_id and (xid, seq) > (f.xid::xid8, f.seq)
            order by xid, seq
            limit 500) as e"#,
        &after.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &after.iter().map(|it| it.1.xid.to_string()).collect::<Vec<_>>(),
        &after.iter().map(|it| it.1.seq).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    let mut news = News::default();
    let mut counts: HashMap<TenantId, i64> = HashMap::new();
    for it in rows {
        let tenant = TenantId(it.tenant_id);
        *counts.entry(tenant).or_default() += 1;
        let Some(Json(data)) = it.data.filter(|_| it.is_settled) else {
            if news.held_back.last() != Some(&tenant) {
                news.held_back.push(tenant);
            }
            continue;
        };
        let cursor = Cursor { xid: it.xid, seq: it.seq };
        let event =
            EventView { id: cursor.to_string(), kind: it.kind, at: it.at, room_id: it.room_id.map(RoomId), data };
        news.events.push((tenant, Logged { cursor, agents: [it.agent_id, it.former_agent_id], event }));
    }
    news.full =
        counts.into_iter().filter(|it| it.1 == MOST_NEWS && !news.held_back.contains(&it.0)).map(|it| it.0).collect();
    Ok(news)
}

/// The end of a tenant's log: where a stream without a cursor begins.
pub async fn load_end(db: &PgPool) -> sqlx::Result<Cursor> {
    let xid = sqlx::query_scalar!(r#"select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1) as "xid!""#)
        .fetch_one(db)
        .await?;
    Ok(Cursor { xid, seq: i64::MAX })
}
