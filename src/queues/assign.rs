//! Gives waiting rooms to agents. Who is next is decided in `pick`; this file locks, asks it and writes.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    AgentStatus, Dispatch,
    pick::pick,
    place::Route,
    presence,
    store::assign::{self as store, Given},
};
use crate::{
    clock::{Clock, Moment},
    crew::{Step, Worker},
    hours::Schedule,
    ids::{QueueId, RoomId, TenantId, UserId, WidgetId},
    rooms::{
        self,
        automatic::{self, Occasion},
        events::{self, Kind, NewEvent},
    },
};

/// Most rooms assigned in one transaction, so that no other tenant and no accept waits long for it.
const MOST_AT_ONCE: i64 = 200;

/// The worker that assigns: for tenants where something changed, and, as a safety net and for lapsing offers, wherever rooms wait.
pub struct Assigner {
    /// What it works with.
    pub dispatch: Dispatch,
    /// The time.
    pub clock: Clock,
}

impl Worker for Assigner {
    const NAME: &'static str = "assign";
    // How late an offer may lapse, or a room held for the opening be offered.
    const POLL: std::time::Duration = std::time::Duration::from_millis(500);

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let mut tenants = store::list_tenants_due(&self.dispatch.db, now).await?;
        tenants.extend(self.dispatch.bell.take_dirty_queues());
        tenants.sort();
        tenants.dedup();
        let mut step = Step::Idle;
        for tenant in tenants {
            if assign(&self.dispatch, tenant, now).await? > 0 {
                step = Step::Worked;
            }
        }
        Ok(step)
    }
}

/// Lets offers lapse and assigns what can be assigned now. How many rooms moved.
///
/// # Errors
/// The database's.
pub async fn assign(dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<usize> {
    let mut tx = dispatch.db.begin().await?;
    store::lock_dispatch(&mut tx, tenant).await?;
    let lapsed = lapse(&mut tx, dispatch, tenant, now).await?;
    release(&mut tx, tenant, now).await?;
    let agents = store::list_candidates(&mut tx, tenant).await?;
    let given = if agents.is_empty() { 0 } else { give(&mut tx, tenant, agents, now).await? };
    tx.commit().await?;
    if lapsed + given > 0 {
        dispatch.ring(tenant);
        metrics::counter!("chatgate_offers_lapsed_total").increment(lapsed as u64);
        metrics::counter!("chatgate_rooms_assigned_total").increment(given as u64);
    }
    Ok(lapsed + given)
}

async fn give(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    agents: Vec<super::pick::Candidate>,
    now: Moment,
) -> sqlx::Result<usize> {
    let seats: i64 = agents.iter().map(|it| it.seats - it.taken).sum();
    let waiting = store::lock_waiting(tx, tenant, &agents, now, seats.min(MOST_AT_ONCE)).await?;
    let facts: Vec<_> = waiting.iter().map(|it| it.fact.clone()).collect();
    let given: Vec<_> = pick(&facts, agents, now)
        .into_iter()
        .map(|(at, agent)| {
            let room = &waiting[at];
            let expires = now + TimeDelta::seconds(room.offer_timeout_s.into());
            Given { room: RoomId(room.fact.room), agent, offer_expires_at: (!room.is_auto).then_some(expires) }
        })
        .collect();
    if given.is_empty() {
        return Ok(0);
    }
    store::mark_given(tx, tenant, &given, now).await?;
    let rooms: Vec<_> = given.iter().map(|it| it.room).collect();
    announce(tx, tenant, &rooms, now).await?;
    for it in given.iter().filter(|it| it.offer_expires_at.is_none()) {
        open(tx, tenant, it.room, it.agent, now).await?;
    }
    Ok(given.len())
}

/// The opening text, when an agent gets an active room.
pub(super) async fn open(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    room: RoomId,
    agent: UserId,
    now: Moment,
) -> sqlx::Result<()> {
    let Some(mut locked) = rooms::store::lock(tx, tenant, room).await? else { return Ok(()) };
    let name = super::store::presence::load_name(tx, tenant, agent).await?;
    automatic::say(tx, tenant, &mut locked, Occasion::Opening { agent: &name }, now).await
}

/// Tells the log what rooms have become: offered, accepted, or waiting again.
pub(super) async fn announce(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    rooms: &[RoomId],
    now: Moment,
) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = rooms.iter().map(|it| it.0).collect();
    let views = rooms::store::list_views(tx, &vec![tenant.0; ids.len()], &ids, now).await?;
    let log: Vec<_> = views
        .iter()
        .map(|(tenant, view)| {
            let kind = match view.status {
                rooms::Status::Offered => Kind::RoomOffered,
                rooms::Status::Active => Kind::RoomAccepted,
                rooms::Status::Waiting => Kind::RoomQueued,
                rooms::Status::Closed => Kind::RoomClosed,
            };
            NewEvent::room(*tenant, kind, view)
        })
        .collect();
    events::append(tx, now, &log).await
}

async fn lapse(tx: &mut sqlx::PgConnection, dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<usize> {
    let lapsed = store::lapse_offers(tx, tenant, now, now + dispatch.rering).await?;
    for it in &lapsed {
        let Some(view) = rooms::store::find_view(tx, tenant, it.room, now).await? else { continue };
        let event = NewEvent::room(tenant, Kind::RoomOfferExpired, &view).also_to(Some(it.agent));
        events::append(tx, now, &[event]).await?;
    }
    for it in lapsed.iter().filter(|it| it.sets_away) {
        presence::set(tx, tenant, it.agent, AgentStatus::Away, Some("an offer lapsed"), now).await?;
    }
    Ok(lapsed.len())
}

/// Rooms that were held for the opening may be offered once the hours are found open.
async fn release(tx: &mut sqlx::PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<()> {
    let widgets = store::list_held_widgets(tx, tenant).await?;
    if widgets.is_empty() {
        return Ok(());
    }
    let pairs: Vec<_> = widgets.iter().map(|widget| (tenant, *widget)).collect();
    let routes = load_routes(tx, &pairs).await?;
    for widget in widgets {
        let hours = routes.get(&widget).and_then(|it| it.hours.as_ref());
        if hours.is_none_or(|it| it.status(now).open) {
            store::mark_released(tx, tenant, widget).await?;
        }
    }
    Ok(())
}

/// The routes of widgets, ready for [`super::place::place`].
///
/// # Errors
/// The database's.
pub async fn load_routes(
    tx: &mut sqlx::PgConnection,
    widgets: &[(TenantId, WidgetId)],
) -> sqlx::Result<HashMap<WidgetId, Route>> {
    let tenants: Vec<_> = widgets.iter().map(|it| it.0.0).collect();
    let ids: Vec<_> = widgets.iter().map(|it| it.1.0).collect();
    let stored = store::list_routes(tx, &tenants, &ids).await?;
    let routes = stored.into_iter().map(|it| {
        // Schedules are checked when they are stored; one that cannot be read any more counts as always open, so that nobody is turned away.
        let hours =
            it.schedule.and_then(|it| serde_json::from_value::<Schedule>(it).ok()).and_then(|it| it.parse().ok());
        let holds = it.after_hours == "hold";
        (it.widget, Route { queue: QueueId(it.queue), hours, offline_message: it.offline_message, holds })
    });
    Ok(routes.collect())
}
