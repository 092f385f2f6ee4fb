//! SQL of assigning.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, UserId, WidgetId},
    queues::pick::{Candidate, Strategy, Waiting},
};

/// Takes the tenant's dispatch lock until the transaction ends. Whatever gives an agent a room or changes who is ready holds it, in
/// whichever process: that is what makes the count of seats true.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_dispatch(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    // The two halves of the tenant's id are folded into the 64-bit key that advisory locks have.
    let (high, low) = tenant.0.as_u64_pair();
    let key = (high ^ low).cast_signed();
    sqlx::query!("select pg_advisory_xact_lock($1)", key).execute(tx).await?;
    Ok(())
}

/// Tenants in which something may be assigned or has lapsed.
pub async fn list_tenants_due(db: &PgPool, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let ids = sqlx::query_scalar!(
        r#"select tenant_id as "tenant_id!" from rooms where status = 'offered' and offer_expires_at <= $1
        union
        select tenant_id as "tenant_id!" from rooms where status = 'waiting'"#,
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(TenantId).collect())
}

/// An offer that lapsed.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Lapsed {
    pub room: RoomId,
    pub agent: UserId,
    pub sets_away: bool,
}

/// Puts rooms whose offers have lapsed back to their places.
pub async fn lapse_offers(
    tx: &mut PgConnection,
    tenant: TenantId,
    now: Moment,
    rering_at: Moment,
) -> sqlx::Result<Vec<Lapsed>> {
    let rows = sqlx::query!(
        r#"with lapsed as (
            select r.tenant_id, r.id, r.agent_id, q.offer_timeout_action
            from rooms r
            join queues q on q.tenant_id = r.tenant_id and q.id = r.queue_id
            where r.tenant_id = $1 and r.status = 'offered' and r.offer_expires_at <= $2
            order by r.id
            for update of r
        )
        update rooms r
        set status = 'waiting', agent_id = null, offer_expires_at = null, rering_at = $3,
            passed_by = case when r.rering_at > $2 then r.passed_by else '{}' end || lapsed.agent_id
        from lapsed
        where r.tenant_id = lapsed.tenant_id and r.id = lapsed.id
        returning r.id, lapsed.agent_id as "agent_id!", lapsed.offer_timeout_action"#,
        tenant.0,
        now,
        rering_at,
    )
    .fetch_all(tx)
    .await?;
    let lapsed = rows.into_iter().map(|it| Lapsed {
        room: RoomId(it.id),
        agent: UserId(it.agent_id),
        sets_away: it.offer_timeout_action == "requeue_and_away",
    });
    Ok(lapsed.collect())
}

/// Widgets whose rooms are held for the opening.
pub async fn list_held_widgets(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Vec<WidgetId>> {
    let ids = sqlx::query_scalar!(
        "select distinct widget_id
        from rooms
        where tenant_id = $1 and status = 'waiting' and is_held",
        tenant.0,
    )
    .fetch_all(tx)
    .await?;
    Ok(ids.into_iter().map(WidgetId).collect())
}

/// The hours are open: the held rooms of this widget may be offered.
pub async fn mark_released(tx: &mut PgConnection, tenant: TenantId, widget: WidgetId) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set is_held = false
        where tenant_id = $1 and widget_id = $2 and status = 'waiting' and is_held",
        tenant.0,
        widget.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A waiting room with how its queue offers.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct WaitingRoom {
    pub fact: Waiting,
    pub is_auto: bool,
    pub offer_timeout_s: i32,
}

/// The rooms that these agents could be given now, as many for each queue as its members have free seats and at most `limit`, oldest
/// first within priority; locked in key order. Rooms that only busy agents serve, or that all free ones passed on, hold up nobody.
pub async fn lock_waiting(
    tx: &mut PgConnection,
    tenant: TenantId,
    free: &[Candidate],
    now: Moment,
    limit: i64,
) -> sqlx::Result<Vec<WaitingRoom>> {
    let members: Vec<_> =
        free.iter().flat_map(|it| it.queues.keys().map(|queue| (*queue, it.agent.0, it.seats - it.taken))).collect();
    let rows = sqlx::query!(
        r#"with free as (
            select * from unnest($3::uuid[], $4::uuid[], $5::bigint[]) as f (queue_id, user_id, seats)
        ), next as (
            select w.id
            from (select queue_id, least(sum(seats)::bigint, $6) as seats from free group by queue_id) as line
            join queues p on p.tenant_id = $1 and p.id = line.queue_id
            cross join lateral (
                select r.id, r.place_at
                from rooms r
                where r.tenant_id = $1
                  and r.queue_id = line.queue_id
                  and r.status = 'waiting'
                  and not r.is_held
                  and (r.rering_at is null
                    or r.rering_at <= $2
                    or exists (select from free f where f.queue_id = line.queue_id and f.user_id <> all (r.passed_by)))
                order by r.place_at, r.id
                limit line.seats) as w
            order by p.priority, w.place_at, w.id
            limit $6
        )
        select r.id, q.id as queue_id, q.priority, r.place_at as "place_at!", q.strategy, q.accept, q.offer_timeout_s,
            case when r.rering_at > $2 then r.passed_by else '{}' end as "passed_by!"
        from next
        join rooms r on r.tenant_id = $1 and r.id = next.id and r.status = 'waiting'
        join queues q on q.tenant_id = r.tenant_id and q.id = r.queue_id
        order by r.id
        for update of r"#,
        tenant.0,
        now,
        &members.iter().map(|it| it.0).collect::<Vec<_>>(),
        &members.iter().map(|it| it.1).collect::<Vec<_>>(),
        &members.iter().map(|it| it.2).collect::<Vec<_>>(),
        limit,
    )
    .fetch_all(tx)
    .await?;
    let rooms = rows.into_iter().map(|it| WaitingRoom {
        fact: Waiting {
            room: it.id,
            queue: it.queue_id,
            priority: it.priority,
            place_at: it.place_at,
            strategy: match it.strategy.as_str() {
                "least_busy" => Strategy::LeastBusy,
                "round_robin" => Strategy::RoundRobin,
                _ => Strategy::LongestIdle,
            },
            passed_by: it.passed_by,
        },
        is_auto: it.accept == "auto",
        offer_timeout_s: it.offer_timeout_s,
    });
    Ok(rooms.collect())
}

/// Ready agents with a free seat, with the queues they serve.
pub async fn list_candidates(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"select a.user_id, a.max_chats, a.idle_since, a.given_at, m.queue_id, m.priority, coalesce(held.taken, 0) as "taken!"
        from agents a
        join users u on u.tenant_id = a.tenant_id and u.id = a.user_id and u.active
        join queue_members m on m.tenant_id = a.tenant_id and m.user_id = a.user_id
        left join (
            select agent_id, count(*) as taken
            from rooms
            where tenant_id = $1 and status in ('offered', 'active')
            group by agent_id) as held on held.agent_id = a.user_id
        where a.tenant_id = $1 and a.status = 'ready' and coalesce(held.taken, 0) < a.max_chats"#,
        tenant.0,
    )
    .fetch_all(tx)
    .await?;
    let mut agents: HashMap<Uuid, Candidate> = HashMap::new();
    for it in rows {
        let agent = agents.entry(it.user_id).or_insert_with(|| Candidate {
            agent: UserId(it.user_id),
            seats: it.max_chats.into(),
            taken: it.taken,
            idle_since: it.idle_since,
            given_at: it.given_at,
            queues: HashMap::new(),
        });
        agent.queues.insert(it.queue_id, it.priority);
    }
    Ok(agents.into_values().collect())
}

/// A room and whom it goes to.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Given {
    pub room: RoomId,
    pub agent: UserId,
    /// None: active at once.
    pub offer_expires_at: Option<Moment>,
}

/// Offers or gives rooms, one statement for all of them.
pub async fn mark_given(tx: &mut PgConnection, tenant: TenantId, given: &[Given], now: Moment) -> sqlx::Result<()> {
    let agents: Vec<_> = given.iter().map(|it| it.agent.0).collect();
    sqlx::query!(
        "update rooms r
        set status = case when g.expires_at is null then 'active' else 'offered' end,
            agent_id = g.agent_id,
            offer_expires_at = g.expires_at,
            offered_at = case when g.expires_at is null then r.offered_at else $5 end,
            accepted_at = case when g.expires_at is null then $5 else r.accepted_at end
        from unnest($2::uuid[], $3::uuid[], $4::timestamptz[]) as g (room_id, agent_id, expires_at)
        where r.tenant_id = $1 and r.id = g.room_id",
        tenant.0,
        &given.iter().map(|it| it.room.0).collect::<Vec<_>>(),
        &agents,
        &given.iter().map(|it| it.offer_expires_at).collect::<Vec<_>>() as &[Option<Moment>],
        now,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update agents
        set idle_since = $3, given_at = $3
        where tenant_id = $1 and user_id = any($2)",
        tenant.0,
        &agents,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A widget's route as stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct StoredRoute {
    pub widget: WidgetId,
    pub queue: Uuid,
    pub schedule: Option<serde_json::Value>,
    pub offline_message: String,
    pub after_hours: String,
}

/// The enabled incoming chats of these widgets. The slices go together.
pub async fn list_routes(tx: &mut PgConnection, tenants: &[Uuid], widgets: &[Uuid]) -> sqlx::Result<Vec<StoredRoute>> {
    let rows = sqlx::query!(
        r#"select i.widget_id, i.queue_id, h.schedule as "schedule?", i.offline_message, i.after_hours
        from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, widget_id)
        join incoming_chats i on i.tenant_id = wanted.tenant_id and i.widget_id = wanted.widget_id and i.enabled
        left join working_hours h on h.tenant_id = i.tenant_id and h.id = i.working_hours_id"#,
        tenants,
        widgets,
    )
    .fetch_all(tx)
    .await?;
    let routes = rows.into_iter().map(|it| StoredRoute {
        widget: WidgetId(it.widget_id),
        queue: it.queue_id,
        schedule: it.schedule,
        offline_message: it.offline_message,
        after_hours: it.after_hours,
    });
    Ok(routes.collect())
}
