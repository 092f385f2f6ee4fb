//! SQL of telling how rooms were routed.

use std::collections::HashMap;

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId},
    queues::{
        AgentStatus,
        story::WaitingFor,
        why::{MOST_SKIPPED, Skipped, SkippedFor, Unavailable},
    },
};

/// Names of the users and queues with these ids.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn list_names(db: &PgPool, tenant: TenantId, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, String>> {
    let rows = sqlx::query!(
        r#"select id as "id!", name as "name!" from users where tenant_id = $1 and id = any($2)
        union all
        select id, name from queues where tenant_id = $1 and id = any($2)"#,
        tenant.0,
        ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.name)).collect())
}

/// If the room waits: who of its queue cannot take it at this moment.
pub async fn find_waiting(
    db: &PgPool,
    tenant: TenantId,
    room: RoomId,
    now: Moment,
) -> sqlx::Result<Option<WaitingFor>> {
    let rows = sqlx::query!(
        r#"select r.queue_id as "queue_id!", r.is_held, a.user_id as "user_id?", a.status as "status?: AgentStatus", a.status_since as "status_since?",
            a.max_chats as "max_chats?", m.user_id = any(r.passed_by) and coalesce(r.rering_at > $3, false) as passed,
            coalesce(a.chats, 0) + (
                select count(*)
                from rooms s
                where s.tenant_id = a.tenant_id and s.agent_id = a.user_id and s.seat_until > $3) as "taken!"
        from rooms r
        left join (queue_members m
            join agents a on a.tenant_id = m.tenant_id and a.user_id = m.user_id
            join users u on u.tenant_id = a.tenant_id and u.id = a.user_id and u.active)
            on m.tenant_id = r.tenant_id and m.queue_id = r.queue_id
        where r.tenant_id = $1 and r.id = $2 and r.status = 'waiting'
        order by case a.status when 'ready' then 0 when 'away' then 1 else 2 end, m.priority, a.status_since desc, a.user_id"#,
        tenant.0,
        room.0,
        now,
    )
    .fetch_all(db)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (queue, is_held) = (first.queue_id, first.is_held);
    let mut waiting = WaitingFor { queue, is_held, unavailable: Unavailable::default(), free: 0 };
    for it in rows {
        let (Some(agent), Some(status), Some(seats)) = (it.user_id, it.status, it.max_chats) else { continue };
        let (why, since, seats) = match status {
            AgentStatus::Away => (SkippedFor::Away, it.status_since, None),
            AgentStatus::Offline => (SkippedFor::Offline, it.status_since, None),
            AgentStatus::Ready if it.passed == Some(true) => (SkippedFor::Passed, None, None),
            AgentStatus::Ready if it.taken >= seats.into() => (SkippedFor::AtLimit, None, Some(seats.into())),
            AgentStatus::Ready => {
                waiting.free += 1;
                continue;
            }
        };
        waiting.unavailable.count += 1;
        if waiting.unavailable.first.len() < MOST_SKIPPED {
            waiting.unavailable.first.push(Skipped { agent, why, since, seats });
        }
    }
    Ok(Some(waiting))
}
