//! SQL of the log of routing.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId},
    rooms::{
        decisions::{Decision, NewDecision, Reason},
        events::NewEvent,
    },
};

/// Appends decisions, one statement for all of them.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn insert(tx: &mut PgConnection, now: Moment, decisions: &[NewDecision]) -> sqlx::Result<()> {
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &decisions.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into routing_log (at, tenant_id, room_id, decision, reason, queue_id, agent_id, by_id, wait_s, detail)
        select $1, new.*
        from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::integer[], $10::jsonb[])
            as new",
        now,
        column!(|it| it.tenant.0),
        column!(|it| it.room.0),
        column!(|it| it.decision.as_str().to_owned()),
        column!(|it| it.reason.map(|reason| reason.as_str().to_owned())) as &[Option<String>],
        column!(|it| it.queue) as &[Option<Uuid>],
        column!(|it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.by.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.wait_s) as &[Option<i32>],
        column!(|it| it.detail.clone()) as &[Option<Value>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Appends decisions and the events that tell them, one statement for all: assigning holds its tenant's lock until it is through, and
/// each statement is a way to the database and back.
pub async fn insert_with_events(
    tx: &mut PgConnection,
    now: Moment,
    decisions: &[NewDecision],
    events: &[NewEvent],
) -> sqlx::Result<()> {
    macro_rules! column {
        ($of:ident, |$it:ident| $value:expr) => {
            &$of.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "with noted as (
            insert into routing_log (at, tenant_id, room_id, decision, reason, queue_id, agent_id, by_id, wait_s, detail)
            select $1, new.*
            from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::integer[], $10::jsonb[])
                as new
        )
        insert into events (at, tenant_id, kind, room_id, agent_id, former_agent_id, data)
        select $1, e.tenant_id, e.kind, e.room_id, e.agent_id, e.former_agent_id, e.data::json
        from unnest($11::uuid[], $12::text[], $13::uuid[], $14::uuid[], $15::uuid[], $16::text[])
            as e (tenant_id, kind, room_id, agent_id, former_agent_id, data)",
        now,
        column!(decisions, |it| it.tenant.0),
        column!(decisions, |it| it.room.0),
        column!(decisions, |it| it.decision.as_str().to_owned()),
        column!(decisions, |it| it.reason.map(|reason| reason.as_str().to_owned())) as &[Option<String>],
        column!(decisions, |it| it.queue) as &[Option<Uuid>],
        column!(decisions, |it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(decisions, |it| it.by.map(|id| id.0)) as &[Option<Uuid>],
        column!(decisions, |it| it.wait_s) as &[Option<i32>],
        column!(decisions, |it| it.detail.clone()) as &[Option<Value>],
        column!(events, |it| it.tenant.0),
        column!(events, |it| it.kind.name()) as &[&str],
        column!(events, |it| it.room.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.former_agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.data.get()) as &[&str],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A noted decision.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Noted {
    pub seq: i64,
    pub at: Moment,
    pub decision: Decision,
    pub reason: Option<Reason>,
    pub queue: Option<Uuid>,
    pub agent: Option<Uuid>,
    pub by: Option<Uuid>,
    pub wait_s: Option<i32>,
    pub detail: Option<Value>,
}

/// A room's decisions behind `after`, oldest first.
pub async fn list(db: &PgPool, tenant: TenantId, room: RoomId, after: i64, limit: i64) -> sqlx::Result<Vec<Noted>> {
    let rows = sqlx::query!(
        r#"select seq, at, decision as "decision: Decision", reason as "reason: Reason", queue_id, agent_id, by_id, wait_s, detail
        from routing_log
        where tenant_id = $1 and room_id = $2 and seq > $3
        order by seq
        limit $4"#,
        tenant.0,
        room.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    let decisions = rows.into_iter().map(|it| Noted {
        seq: it.seq,
        at: it.at,
        decision: it.decision,
        reason: it.reason,
        queue: it.queue_id,
        agent: it.agent_id,
        by: it.by_id,
        wait_s: it.wait_s,
        detail: it.detail,
    });
    Ok(decisions.collect())
}
