//! SQL of the live view: one statement for all queues, one for all agents. Both touch only rooms that are not closed (or wrapped up), and
//! today's answers by their index.

use sqlx::PgPool;

use crate::{
    clock::Moment,
    ids::{QueueId, TenantId, UserId},
    queues::{
        AgentStatus,
        board::{AgentState, QueueState},
    },
};

/// All queues by name; ready agents are yet to be counted.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn list_queues(
    db: &PgPool,
    tenant: TenantId,
    today_since: Moment,
    now: Moment,
) -> sqlx::Result<Vec<QueueState>> {
    let rows = sqlx::query!(
        r#"select q.id, q.name, q.service_level_s, coalesce(w.waiting, 0) as "waiting!", coalesce(w.held, 0) as "held!", w.waiting_since,
            coalesce(h.offered, 0) as "offered!", coalesce(h.active, 0) as "active!", t.answered as "answered!", t.in_time as "in_time!",
            t.lost as "lost!"
        from queues q
        left join (
            select queue_id, count(*) filter (where not is_held) as waiting, count(*) filter (where is_held) as held,
                min(queued_at) filter (where not is_held) as waiting_since
            from rooms
            where tenant_id = $1 and status = 'waiting'
            group by queue_id) as w on w.queue_id = q.id
        left join (
            select queue_id, count(*) filter (where status = 'offered') as offered, count(*) filter (where status = 'active') as active
            from rooms
            where tenant_id = $1 and status in ('offered', 'active')
            group by queue_id) as h on h.queue_id = q.id
        cross join lateral (
            select count(*) filter (where l.decision in ('accepted', 'assigned', 'taken')) as answered,
                count(*) filter (where l.decision in ('accepted', 'assigned', 'taken') and l.wait_s <= q.service_level_s) as in_time,
                count(*) filter (where l.decision in ('closed', 'turned_away')) as lost
            from routing_log l
            where l.tenant_id = q.tenant_id and l.queue_id = q.id and l.at >= $2 and l.wait_s is not null) as t
        where q.tenant_id = $1
        order by q.name, q.id"#,
        tenant.0,
        today_since,
    )
    .fetch_all(db)
    .await?;
    let queues = rows.into_iter().map(|it| {
        #[expect(clippy::cast_precision_loss, reason = "a day's rooms are far below 2^52")]
        let share = |part: i64, of: i64| (of > 0).then(|| part as f64 / of as f64);
        QueueState {
            id: QueueId(it.id),
            name: it.name,
            waiting: it.waiting,
            held: it.held,
            waiting_since: it.waiting_since,
            longest_wait_s: it.waiting_since.map(|since| (now - since).num_seconds().max(0)),
            offered: it.offered,
            active: it.active,
            agents_ready: 0,
            free_seats: 0,
            answered_today: it.answered,
            lost_today: it.lost,
            service_level: share(it.in_time, it.answered),
            service_level_s: it.service_level_s,
        }
    });
    Ok(queues.collect())
}

/// All agents by name, and whoever else has rooms.
pub async fn list_agents(db: &PgPool, tenant: TenantId, now: Moment) -> sqlx::Result<Vec<AgentState>> {
    let rows = sqlx::query!(
        r#"select a.user_id, u.name, a.status as "status: AgentStatus", a.status_reason, a.status_since, a.max_chats,
            coalesce(s.offered, 0) as "offered!", coalesce(s.active, 0) as "active!", coalesce(s.wrapping_up, 0) as "wrapping_up!",
            coalesce(m.queues, '{}') as "queues!"
        from agents a
        join users u on u.tenant_id = a.tenant_id and u.id = a.user_id
        left join (
            select agent_id, count(*) filter (where status = 'offered') as offered, count(*) filter (where status = 'active') as active,
                count(*) filter (where status = 'closed') as wrapping_up
            from rooms
            where tenant_id = $1 and (status in ('offered', 'active') or seat_until > $2)
            group by agent_id) as s on s.agent_id = a.user_id
        left join (
            select user_id, array_agg(queue_id order by queue_id) as queues
            from queue_members
            where tenant_id = $1
            group by user_id) as m on m.user_id = a.user_id
        where a.tenant_id = $1 and (u.active and 'agent' = any(u.roles) or s.agent_id is not null)
        order by u.name, a.user_id"#,
        tenant.0,
        now,
    )
    .fetch_all(db)
    .await?;
    let agents = rows.into_iter().map(|it| AgentState {
        id: UserId(it.user_id),
        name: it.name,
        status: it.status,
        reason: it.status_reason,
        status_since: it.status_since,
        status_s: (now - it.status_since).num_seconds().max(0),
        max_chats: it.max_chats,
        offered: it.offered,
        active: it.active,
        wrapping_up: it.wrapping_up,
        queue_ids: it.queues.into_iter().map(QueueId).collect(),
    });
    Ok(agents.collect())
}
