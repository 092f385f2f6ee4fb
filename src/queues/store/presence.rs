//! SQL of what agents are doing.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, UserId},
    queues::{AgentStatus, AgentView},
};

/// A user's name.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn load_name(tx: &mut PgConnection, tenant: TenantId, user: UserId) -> sqlx::Result<String> {
    sqlx::query_scalar!("select name from users where tenant_id = $1 and id = $2", tenant.0, user.0).fetch_one(tx).await
}

/// Sets an agent's status; false if there is no such active agent. Going ready starts the idle time.
pub async fn mark_status(
    tx: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    status: AgentStatus,
    reason: Option<&str>,
    now: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update agents a
        set status = $3, status_reason = $4,
            status_since = case when a.status = $3 then a.status_since else $5 end,
            idle_since = case when $3 = 'ready' and a.status <> 'ready' then $5 else a.idle_since end,
            stream_seen_at = case when $3 = 'offline' then null else a.stream_seen_at end
        from users u
        where a.tenant_id = $1 and a.user_id = $2
          and u.tenant_id = a.tenant_id and u.id = a.user_id
          -- Anybody may be found gone; only agents may come.
          and ($3 = 'offline' or u.active and 'agent' = any (u.roles))",
        tenant.0,
        user.0,
        status.as_str(),
        reason,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// An agent as the API shows them.
pub async fn find_view(
    tx: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    now: Moment,
) -> sqlx::Result<Option<AgentView>> {
    let row = sqlx::query!(
        r#"select u.name, a.status as "status: AgentStatus", a.status_reason, a.status_since, a.max_chats, a.chats,
            (select count(*)
             from rooms r
             where r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.seat_until > $3) as "wrapping_up!"
        from agents a
        join users u on u.tenant_id = a.tenant_id and u.id = a.user_id
        where a.tenant_id = $1 and a.user_id = $2"#,
        tenant.0,
        user.0,
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| AgentView {
        id: user,
        name: it.name,
        status: it.status,
        reason: it.status_reason,
        status_since: it.status_since,
        max_chats: it.max_chats,
        chats: it.chats.into(),
        wrapping_up: it.wrapping_up,
    }))
}

/// Takes back what rings at an agent: the rooms keep their places.
pub async fn withdraw_offers(
    tx: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    now: Moment,
) -> sqlx::Result<Vec<(RoomId, Option<Uuid>)>> {
    let rows = sqlx::query!(
        "update rooms
        set status = 'waiting', agent_id = null, offer_expires_at = null,
            queued_at = case when accepted_at >= queued_at then $3 else queued_at end
        where tenant_id = $1
          and id in (select id from rooms where tenant_id = $1 and agent_id = $2 and status = 'offered' order by id for update)
        returning id, queue_id",
        tenant.0,
        user.0,
        now,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| (RoomId(it.id), it.queue_id)).collect())
}

/// These agents have a stream open now. The slices go together. Who is being given a room at this moment is noted next time: whoever
/// changes several agents does it in the order of their rooms.
pub async fn mark_streaming(db: &PgPool, tenants: &[Uuid], users: &[Uuid], now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "with streaming as (
            select a.tenant_id, a.user_id
            from unnest($1::uuid[], $2::uuid[]) as s (tenant_id, user_id)
            join agents a on a.tenant_id = s.tenant_id and a.user_id = s.user_id and a.status <> 'offline'
            for no key update of a skip locked
        )
        update agents a
        set stream_seen_at = $3
        from streaming s
        where a.tenant_id = s.tenant_id and a.user_id = s.user_id",
        tenants,
        users,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Agents whose stream was last seen open before `since`.
pub async fn list_lost(db: &PgPool, since: Moment) -> sqlx::Result<Vec<(TenantId, UserId)>> {
    let rows = sqlx::query!("select tenant_id, user_id from agents where stream_seen_at < $1 limit 100", since)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|it| (TenantId(it.tenant_id), UserId(it.user_id))).collect())
}

/// Active rooms whose agents went offline before `since` and after they got the room: who is given one while offline keeps it.
pub async fn list_left(db: &PgPool, since: Moment) -> sqlx::Result<Vec<(TenantId, RoomId)>> {
    let rows = sqlx::query!(
        "select r.tenant_id, r.id
        from agents a
        join rooms r on r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.status = 'active'
        where a.status = 'offline' and a.status_since < $1 and a.status_since >= r.accepted_at and r.queue_id is not null
        limit 100",
        since,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| (TenantId(it.tenant_id), RoomId(it.id))).collect())
}

/// Locks a room that is still active and its agent still offline since before `since`; its holder then.
pub async fn lock_left(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    since: Moment,
) -> sqlx::Result<Option<UserId>> {
    let holder = sqlx::query_scalar!(
        r#"select a.user_id
        from rooms r
        join agents a on a.tenant_id = r.tenant_id and a.user_id = r.agent_id
        where r.tenant_id = $1 and r.id = $2 and r.status = 'active' and a.status = 'offline' and a.status_since < $3
          and a.status_since >= r.accepted_at
        for update of r"#,
        tenant.0,
        room.0,
        since,
    )
    .fetch_optional(tx)
    .await?;
    Ok(holder.map(UserId))
}

/// The room waits again, before everybody else in its queue; its `former` agent is not rung for it before `rering_at`.
pub async fn mark_returned(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    former: UserId,
    now: Moment,
    rering_at: Moment,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "update rooms r
        set status = 'waiting', agent_id = null, offer_expires_at = null, queued_at = $3, waiting_told_at = null,
            reminded_at = null, agent_silent_at = null, passed_by = array[$4::uuid], rering_at = $5,
            place_at = least(r.opened_at, (
                select min(w.place_at) - interval '1 microsecond'
                from rooms w
                where w.tenant_id = r.tenant_id and w.queue_id = r.queue_id and w.status = 'waiting'))
        where r.tenant_id = $1 and r.id = $2
        returning r.queue_id",
        tenant.0,
        room.0,
        now,
        former.0,
        rering_at,
    )
    .fetch_one(tx)
    .await
}
