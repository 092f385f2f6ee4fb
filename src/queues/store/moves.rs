//! SQL of moving rooms between people. The room is locked by the caller, and the dispatch lock is held wherever an agent is given one.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{QueueId, RoomId, TenantId, UserId},
    rooms::CloseReason,
};

/// The room is the agent's from now on. Silence counts anew: who has just got it left nobody without an answer.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn mark_active(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    agent: UserId,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set status = 'active', agent_id = $3, offer_expires_at = null, accepted_at = $4, passed_by = '{}', rering_at = null, is_held = false,
            reminded_at = null, agent_silent_at = null
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
        agent.0,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The room rings at the agent, who need not be of its queue.
pub async fn mark_offered(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    agent: UserId,
    expires_at: Moment,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set status = 'offered', agent_id = $3, offer_expires_at = $4, offered_at = $5, place_at = coalesce(place_at, $5), passed_by = '{}',
            rering_at = null, is_held = false, reminded_at = null, agent_silent_at = null
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
        agent.0,
        expires_at,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The room goes back to its old place; `passed` is not rung for it before `rering_at`, and others are asked first from then on.
pub async fn mark_back(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    passed: UserId,
    now: Moment,
    rering_at: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set status = 'waiting', agent_id = null, offer_expires_at = null, place_at = coalesce(place_at, queued_at, opened_at),
            passed_by = array_remove(passed_by, $3) || $3::uuid, rering_at = $5,
            queued_at = case when accepted_at >= queued_at then $4 else queued_at end
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
        passed.0,
        now,
        rering_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The room waits in another queue, behind those who are there. False if there is no such queue.
pub async fn mark_queued(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    queue: QueueId,
    now: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update rooms r
        set status = 'waiting', queue_id = q.id, agent_id = null, offer_expires_at = null, place_at = $4, queued_at = $4, passed_by = '{}',
            rering_at = null, is_held = false, waiting_told_at = null, reminded_at = null, agent_silent_at = null
        from queues q
        where r.tenant_id = $1 and r.id = $2 and q.tenant_id = $1 and q.id = $3",
        tenant.0,
        room.0,
        queue.0,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The room is over. Its last holder stays written on it; when its contact wrote last is known of the contact from now on.
pub async fn mark_closed(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    reason: CloseReason,
    holder: Option<UserId>,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with closed as (
            update rooms
            set status = 'closed', close_reason = $3, closed_at = $4, offer_expires_at = null, agent_id = $5, is_held = false
            where tenant_id = $1 and id = $2
            returning tenant_id, contact_id, wrote_at)
        update contacts c
        set last_inbound_at = greatest(c.last_inbound_at, closed.wrote_at)
        from closed
        where c.tenant_id = closed.tenant_id and c.id = closed.contact_id and closed.wrote_at is not null",
        tenant.0,
        room.0,
        reason as _,
        now,
        holder.map(|it| it.0),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The closed room keeps its last holder's seat for its queue's wrap-up.
pub async fn mark_wrap_up(tx: &mut PgConnection, tenant: TenantId, room: RoomId, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms r
        set seat_until = $3::timestamptz + make_interval(secs => q.wrap_up_s)
        from queues q
        where r.tenant_id = $1 and r.id = $2 and r.agent_id is not null and q.tenant_id = $1 and q.id = r.queue_id and q.wrap_up_s > 0",
        tenant.0,
        room.0,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A person who might be given a room.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Target {
    pub name: String,
    pub is_agent: bool,
    pub active: bool,
    pub is_ready: bool,
    pub free_seats: i64,
}

/// Whether a user can be given a room, and how many.
pub async fn find_target(
    tx: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    now: Moment,
) -> sqlx::Result<Option<Target>> {
    let row = sqlx::query!(
        r#"select u.name, u.active, u.roles, a.status, a.max_chats,
            a.chats + (
                select count(*)
                from rooms r
                where r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.seat_until > $3) as "taken!"
        from users u
        join agents a on a.tenant_id = u.tenant_id and a.user_id = u.id
        where u.tenant_id = $1 and u.id = $2"#,
        tenant.0,
        user.0,
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| Target {
        name: it.name,
        is_agent: it.roles.iter().any(|role| role == "agent"),
        active: it.active,
        is_ready: it.status == "ready",
        free_seats: i64::from(it.max_chats) - it.taken,
    }))
}

/// Seconds for which a queue's offers ring; the default where the room has no queue.
pub async fn load_offer_timeout(tx: &mut PgConnection, tenant: TenantId, queue: Option<Uuid>) -> sqlx::Result<i32> {
    let seconds =
        sqlx::query_scalar!("select offer_timeout_s from queues where tenant_id = $1 and id = $2", tenant.0, queue)
            .fetch_optional(tx)
            .await?;
    Ok(seconds.unwrap_or(30))
}

/// An agent has just ended or been given something: their idle time starts anew.
pub async fn mark_idle(tx: &mut PgConnection, tenant: TenantId, agent: UserId, now: Moment) -> sqlx::Result<()> {
    sqlx::query!("update agents set idle_since = $3 where tenant_id = $1 and user_id = $2", tenant.0, agent.0, now)
        .execute(tx)
        .await?;
    Ok(())
}
