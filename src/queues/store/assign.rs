//! SQL of assigning.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, UserId, WidgetId},
    queues::{
        AgentStatus,
        pick::{Candidate, Strategy, Waiting},
        why::{MOST_SKIPPED, Skipped, SkippedFor, Unavailable},
    },
};

/// Takes the tenant's dispatch lock until the transaction ends. Whatever gives an agent a room or changes who is ready holds it, in
/// whichever process: that is what makes the count of seats true.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_dispatch(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<()> {
    // Making a plan takes longer than most of the statements behind this one; theirs do not depend on the values.
    sqlx::query!(
        "select pg_advisory_xact_lock($1) as locked, set_config('plan_cache_mode', 'force_generic_plan', true) as plans",
        lock_key(tenant.0)
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// The two halves of an id folded into the 64-bit key that advisory locks have.
fn lock_key(id: Uuid) -> i64 {
    let (high, low) = id.as_u64_pair();
    (high ^ low).cast_signed()
}

/// Tenants in which an offer has lapsed.
pub async fn list_tenants_lapsing(db: &PgPool, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let sql = sqlx::query_scalar!(
        "select distinct tenant_id from rooms where status = 'offered' and offer_expires_at <= $1",
        now,
    );
    Ok(sql.fetch_all(db).await?.into_iter().map(TenantId).collect())
}

/// Tenants in which rooms wait and somebody is ready. Leaps from tenant to tenant in the index: what it costs does not grow with the
/// rooms that wait.
pub async fn list_tenants_waiting(db: &PgPool) -> sqlx::Result<Vec<TenantId>> {
    let ids = sqlx::query_scalar!(
        r#"with recursive waiting as (
            (select tenant_id from rooms where status = 'waiting' order by tenant_id limit 1)
            union all
            select (
                select r.tenant_id
                from rooms r
                where r.status = 'waiting' and r.tenant_id > w.tenant_id
                order by r.tenant_id
                limit 1)
            from waiting w
            where w.tenant_id is not null
        )
        select w.tenant_id as "tenant_id!"
        from waiting w
        where exists (select from agents a where a.tenant_id = w.tenant_id and a.status = 'ready')"#,
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
    pub queue: Uuid,
    pub agent: UserId,
    pub is_over: bool,
    pub sets_away: bool,
}

/// Puts rooms whose offers have lapsed back to their places, and with them whatever else rings at agents who are set away by it: all
/// rooms of the transaction are locked here, in key order.
pub async fn lapse_offers(
    tx: &mut PgConnection,
    tenant: TenantId,
    now: Moment,
    rering_at: Moment,
) -> sqlx::Result<Vec<Lapsed>> {
    let rows = sqlx::query!(
        r#"with over as (
            select r.id, r.agent_id, q.offer_timeout_action = 'requeue_and_away' as sets_away
            from rooms r
            join queues q on q.tenant_id = r.tenant_id and q.id = r.queue_id
            where r.tenant_id = $1 and r.status = 'offered' and r.offer_expires_at <= $2
        ), lapsed as (
            select r.tenant_id, r.id, r.agent_id, r.offer_expires_at <= $2 as is_over,
                r.agent_id in (select agent_id from over where sets_away) as sets_away
            from rooms r
            where r.tenant_id = $1
              and r.status = 'offered'
              and (r.id in (select id from over) or r.agent_id in (select agent_id from over where sets_away))
            order by r.id
            for update of r
        )
        update rooms r
        set status = 'waiting', agent_id = null, offer_expires_at = null,
            rering_at = case when is_over then $3 else r.rering_at end,
            passed_by = case when is_over then array_remove(r.passed_by, lapsed.agent_id) || lapsed.agent_id else r.passed_by end,
            -- Handed to an agent who did not answer: only now it waits for the queue.
            queued_at = case when r.accepted_at >= r.queued_at then $2 else r.queued_at end
        from lapsed
        where r.tenant_id = lapsed.tenant_id and r.id = lapsed.id
        returning r.id, r.queue_id as "queue_id!", lapsed.agent_id as "agent_id!", lapsed.is_over as "is_over!",
            lapsed.sets_away as "sets_away!""#,
        tenant.0,
        now,
        rering_at,
    )
    .fetch_all(tx)
    .await?;
    let lapsed = rows.into_iter().map(|it| Lapsed {
        room: RoomId(it.id),
        queue: it.queue_id,
        agent: UserId(it.agent_id),
        is_over: it.is_over,
        sets_away: it.sets_away,
    });
    Ok(lapsed.collect())
}

/// Tenants in which rooms are held for the opening.
pub async fn list_tenants_holding(db: &PgPool) -> sqlx::Result<Vec<TenantId>> {
    let ids = sqlx::query_scalar!("select distinct tenant_id from rooms where status = 'waiting' and is_held");
    Ok(ids.fetch_all(db).await?.into_iter().map(TenantId).collect())
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

/// Widgets with rooms that wait and are not held.
pub async fn list_waiting_widgets(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Vec<WidgetId>> {
    let ids = sqlx::query_scalar!(
        "select distinct widget_id
        from rooms
        where tenant_id = $1 and status = 'waiting' and not is_held",
        tenant.0,
    )
    .fetch_all(tx)
    .await?;
    Ok(ids.into_iter().map(WidgetId).collect())
}

/// The hours are closed: the waiting rooms of this widget are held in their places.
pub async fn mark_held(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
) -> sqlx::Result<Vec<(RoomId, Option<Uuid>)>> {
    let rows = sqlx::query!(
        "update rooms
        set is_held = true
        where tenant_id = $1
          and id in (
            select id
            from rooms
            where tenant_id = $1 and widget_id = $2 and status = 'waiting' and not is_held
            order by id
            for update)
        returning id, queue_id",
        tenant.0,
        widget.0,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| (RoomId(it.id), it.queue_id)).collect())
}

/// The hours are open: the held rooms of this widget may be offered. They wait from now on, in their old order.
pub async fn mark_released(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    now: Moment,
) -> sqlx::Result<Vec<(RoomId, Option<Uuid>)>> {
    let rows = sqlx::query!(
        "update rooms
        set is_held = false, queued_at = $3
        where tenant_id = $1
          and id in (
            select id
            from rooms
            where tenant_id = $1 and widget_id = $2 and status = 'waiting' and is_held
            order by id
            for update)
        returning id, queue_id",
        tenant.0,
        widget.0,
        now,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| (RoomId(it.id), it.queue_id)).collect())
}

/// A waiting room with how its queue offers.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct WaitingRoom {
    pub fact: Waiting,
    pub is_auto: bool,
    pub offer_timeout_s: i32,
    pub queued_at: Option<Moment>,
    pub accepted_at: Option<Moment>,
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
            r.queued_at, r.accepted_at, r.passed_by, coalesce(r.rering_at > $2, false) as "spares_passers!",
            case when q.sticky_minutes > 0 then (
                select p.agent_id
                from rooms p
                where p.tenant_id = r.tenant_id
                  and p.contact_id = r.contact_id
                  and p.status = 'closed'
                  and p.agent_id is not null
                  and p.closed_at >= r.opened_at - make_interval(mins => q.sticky_minutes)
                order by p.id desc
                limit 1) end as had
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
            spares_passers: it.spares_passers,
            had: it.had,
        },
        is_auto: it.accept == "auto",
        offer_timeout_s: it.offer_timeout_s,
        queued_at: it.queued_at,
        accepted_at: it.accepted_at,
    });
    Ok(rooms.collect())
}

/// Ready agents with a free seat, with the queues they serve; nobody if no room waits for any.
pub async fn list_candidates(tx: &mut PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"select a.user_id, a.max_chats, a.idle_since, a.given_at, m.queue_id, m.priority, a.chats + coalesce(ended.rooms, 0) as "taken!"
        from agents a
        join users u on u.tenant_id = a.tenant_id and u.id = a.user_id and u.active
        join queue_members m on m.tenant_id = a.tenant_id and m.user_id = a.user_id
        left join (
            select agent_id, count(*) as rooms
            from rooms
            where tenant_id = $1 and seat_until > $2
            group by agent_id) as ended on ended.agent_id = a.user_id
        where a.tenant_id = $1
          and a.status = 'ready'
          and a.chats + coalesce(ended.rooms, 0) < a.max_chats
          -- Looked at first, once.
          and exists (select from rooms w where w.tenant_id = $1 and w.status = 'waiting' and not w.is_held)"#,
        tenant.0,
        now,
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

/// The members of these queues who are not among `free`: the first few of each, and how many there are. For explanations.
pub async fn list_unavailable(
    tx: &mut PgConnection,
    tenant: TenantId,
    queues: &[Uuid],
    free: &[Candidate],
) -> sqlx::Result<HashMap<Uuid, Unavailable>> {
    let rows = sqlx::query!(
        r#"select q.id as "queue_id!", m.user_id as "user_id!", m.status as "status!: AgentStatus", m.status_since as "status_since!",
            m.max_chats as "max_chats!", m.count as "count!"
        from unnest($2::uuid[]) as q (id)
        cross join lateral (
            select m.user_id, a.status, a.status_since, a.max_chats, count(*) over () as count
            from queue_members m
            join agents a on a.tenant_id = m.tenant_id and a.user_id = m.user_id
            join users u on u.tenant_id = a.tenant_id and u.id = a.user_id and u.active
            where m.tenant_id = $1 and m.queue_id = q.id
              -- As a set: an array would be gone through for each member.
              and m.user_id not in (select unnest($3::uuid[]))
            order by case a.status when 'ready' then 0 when 'away' then 1 else 2 end, m.priority, a.status_since desc, m.user_id
            limit $4) as m"#,
        tenant.0,
        queues,
        &free.iter().map(|it| it.agent.0).collect::<Vec<_>>(),
        i64::try_from(MOST_SKIPPED).unwrap_or(0),
    )
    .fetch_all(tx)
    .await?;
    let mut unavailable: HashMap<Uuid, Unavailable> = HashMap::new();
    for it in rows {
        let of_queue = unavailable.entry(it.queue_id).or_default();
        let (why, since, seats) = match it.status {
            AgentStatus::Ready => (SkippedFor::AtLimit, None, Some(it.max_chats.into())),
            AgentStatus::Away => (SkippedFor::Away, Some(it.status_since), None),
            AgentStatus::Offline => (SkippedFor::Offline, Some(it.status_since), None),
        };
        of_queue.first.push(Skipped { agent: it.user_id, why, since, seats });
        of_queue.count = usize::try_from(it.count).unwrap_or(0);
    }
    Ok(unavailable)
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
        "with busy as (
            update agents
            set idle_since = $5, given_at = $5
            where tenant_id = $1
              and user_id in (select user_id from agents where tenant_id = $1 and user_id = any($3) order by user_id for no key update))
        update rooms r
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
    pub max_waiting: Option<i32>,
    pub max_waiting_text: String,
    pub overflow: Option<Uuid>,
    pub overflow_max_waiting: Option<i32>,
    pub greets: bool,
}

/// The enabled incoming chats of these widgets. The slices go together.
pub async fn list_routes(tx: &mut PgConnection, tenants: &[Uuid], widgets: &[Uuid]) -> sqlx::Result<Vec<StoredRoute>> {
    let rows = sqlx::query!(
        r#"select i.widget_id, i.queue_id, h.schedule as "schedule?", i.offline_message, i.after_hours,
            q.max_waiting, q.max_waiting_text, q.overflow_queue_id, o.max_waiting as "overflow_max_waiting?",
            coalesce(w.texts ->> 'queued', '') <> '' as "greets!"
        from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, widget_id)
        join widgets w on w.tenant_id = wanted.tenant_id and w.id = wanted.widget_id
        join incoming_chats i on i.tenant_id = wanted.tenant_id and i.widget_id = wanted.widget_id and i.enabled
        join queues q on q.tenant_id = i.tenant_id and q.id = i.queue_id
        left join queues o on o.tenant_id = q.tenant_id and o.id = q.overflow_queue_id
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
        max_waiting: it.max_waiting,
        max_waiting_text: it.max_waiting_text,
        overflow: it.overflow_queue_id,
        overflow_max_waiting: it.overflow_max_waiting,
        greets: it.greets,
    });
    Ok(routes.collect())
}

/// Keeps others from joining these queues until the transaction ends; in key order, so that nobody waits in a circle. Taken after the
/// dispatch lock, where both are.
pub async fn lock_lines(tx: &mut PgConnection, queues: &[Uuid]) -> sqlx::Result<()> {
    let mut keys: Vec<_> = queues.iter().map(|it| lock_key(*it)).collect();
    keys.sort_unstable();
    sqlx::query!("select pg_advisory_xact_lock(key) from (select unnest($1::bigint[]) as key) as keys", &keys)
        .execute(tx)
        .await?;
    Ok(())
}

/// How many rooms wait in these queues, each with its tenant; those without any are left out.
pub async fn count_waiting(tx: &mut PgConnection, queues: &[(Uuid, Uuid)]) -> sqlx::Result<HashMap<Uuid, i64>> {
    let rows = sqlx::query!(
        r#"select r.queue_id as "queue_id!", count(*) as "count!"
        from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
        join rooms r on r.tenant_id = wanted.tenant_id and r.queue_id = wanted.id and r.status = 'waiting'
        group by r.queue_id"#,
        &queues.iter().map(|it| it.0).collect::<Vec<_>>(),
        &queues.iter().map(|it| it.1).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| (it.queue_id, it.count)).collect())
}
