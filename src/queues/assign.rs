//! Gives waiting rooms to agents. Who is next is decided in `pick`; this file locks, asks it and writes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    AgentStatus, Dispatch, opening,
    pick::{Picked, Strategy, pick},
    presence,
    store::assign::{self as store, Given, WaitingRoom},
    why::{Grounds, explain},
};
use crate::{
    clock::{Clock, Moment},
    crew::{Step, Worker},
    db::bell::{Bell, Topic},
    ids::{RoomId, TenantId, UserId},
    rooms::{
        self,
        automatic::{self, Occasion},
        decisions::{self, Decision, NewDecision, Reason, waited_s},
        events::{self, Kind, NewEvent, shown},
    },
};

/// Most rooms assigned in one transaction, so that no other tenant and no accept waits long for it.
const MOST_AT_ONCE: i64 = 200;

/// How late an offer may lapse, or a room held for the opening be offered.
const SWEEP: std::time::Duration = std::time::Duration::from_millis(500);

/// The worker that assigns: at once where something changed, and in a sweep over all tenants for what time alone makes due and for
/// rings that got lost.
pub struct Assigner {
    dispatch: Dispatch,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    swept_at: Moment,
    /// Tenants in which there may be more to assign.
    unfinished: BTreeSet<TenantId>,
    /// The last step did something. Whoever rings in the next moment shall not wait for a sweep.
    just_worked: bool,
}

impl Worker for Assigner {
    const NAME: &'static str = "assign";
    const POLL: std::time::Duration = SWEEP;

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let (tenants, sweeps) = self.due(now);
        let mut step = if sweeps { self.sweep(now).await? } else { Step::Idle };
        for tenant in tenants.into_iter().chain(self.take_unfinished()) {
            let assigned = assign(&self.dispatch, tenant, now).await?;
            if assigned.rooms > 0 {
                step = Step::Worked;
            }
            if !assigned.is_done {
                self.state().unfinished.insert(tenant);
                step = Step::Worked;
            }
        }
        self.state().just_worked = step == Step::Worked;
        Ok(step)
    }
}

impl Assigner {
    /// Nobody has been assigned yet.
    #[must_use]
    pub fn new(dispatch: Dispatch, clock: Clock) -> Self {
        let dispatch = Dispatch { db: crate::db::apart(&dispatch.db, []), ..dispatch };
        Self { dispatch, clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_unfinished(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut self.state().unfinished)
    }

    /// Tenants to look at now, and whether it is time for a sweep: when nobody has rung for a while, and even if somebody always does.
    fn due(&self, now: Moment) -> (BTreeSet<TenantId>, bool) {
        let mut tenants: BTreeSet<_> = self.dispatch.bell.take_dirty_queues().into_iter().collect();
        let missed = tenants.remove(&Bell::EVERY_TENANT);
        let mut state = self.state();
        tenants.append(&mut state.unfinished);
        // After a step that failed it is false: then a sweep finds what that step had taken up.
        let just_worked = std::mem::take(&mut state.just_worked);
        let is_quiet = tenants.is_empty() && !just_worked;
        let sweeps = missed || is_quiet || now - state.swept_at >= TimeDelta::from_std(SWEEP).unwrap_or_default();
        if sweeps {
            state.swept_at = now;
        }
        (tenants, sweeps)
    }

    /// Does what time has made due, and notes the tenants that have rooms waiting and somebody ready.
    async fn sweep(&self, now: Moment) -> anyhow::Result<Step> {
        let mut step = Step::Idle;
        let db = &self.dispatch.db;
        for tenant in store::list_tenants_lapsing(db, now).await? {
            if lapse(&self.dispatch, tenant, now).await? > 0 {
                step = Step::Worked;
            }
        }
        for tenant in store::list_tenants_holding(db).await? {
            let mut tx = crate::db::begin(db).await?;
            let is_released = opening::release(&mut tx, tenant, now).await?;
            tx.commit().await?;
            if is_released {
                self.dispatch.bell.ring(Topic::Events(tenant));
            }
        }
        let waiting = store::list_tenants_waiting(db).await?;
        self.state().unfinished.extend(waiting);
        Ok(step)
    }
}

/// What [`assign`] did.
#[derive(Clone, Copy, Debug)]
pub struct Assigned {
    /// Rooms that were given to agents.
    pub rooms: usize,
    /// False if there may be more to give at once.
    pub is_done: bool,
    /// Whether there may be a text to send.
    pub says: bool,
}

/// Assigns what can be assigned now, a bounded number of rooms.
///
/// # Errors
/// The database's.
pub async fn assign(dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<Assigned> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    store::lock_dispatch(&mut tx, tenant).await?;
    let agents = store::list_candidates(&mut tx, tenant, now).await?;
    let assigned = match agents.is_empty() {
        true => Assigned { rooms: 0, is_done: true, says: false },
        false => give(&mut tx, tenant, agents, now).await?,
    };
    tx.commit().await?;
    if assigned.rooms > 0 {
        // Not the queues' bell: nobody else has more to do by this.
        dispatch.bell.ring(Topic::Events(tenant));
        if assigned.says {
            dispatch.bell.ring(Topic::Outbox);
        }
        metrics::counter!("chatgate_rooms_assigned_total").increment(assigned.rooms as u64);
    }
    Ok(assigned)
}

async fn give(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    agents: Vec<super::pick::Candidate>,
    now: Moment,
) -> sqlx::Result<Assigned> {
    let seats: i64 = agents.iter().map(|it| it.seats - it.taken).sum();
    let waiting = store::lock_waiting(tx, tenant, &agents, now, seats.min(MOST_AT_ONCE)).await?;
    let found = waiting.len();
    let facts: Vec<_> = waiting.iter().map(|it| it.fact.clone()).collect();
    let picked = pick(&facts, agents.clone(), now);
    if picked.is_empty() {
        return Ok(Assigned { rooms: 0, is_done: true, says: false });
    }
    let given: Vec<_> = picked
        .iter()
        .map(|it| {
            let room = &waiting[it.at];
            let expires = now + TimeDelta::seconds(room.offer_timeout_s.into());
            Given {
                room: RoomId(room.fact.room),
                agent: it.agent,
                offer_expires_at: (!room.is_auto).then_some(expires),
            }
        })
        .collect();
    store::mark_given(tx, tenant, &given, now).await?;
    let queues: BTreeSet<_> = picked.iter().map(|it| facts[it.at].queue).collect();
    let unavailable = store::list_unavailable(tx, tenant, &queues.into_iter().collect::<Vec<_>>(), &agents).await?;
    let grounds = explain(&picked, &facts, agents, &unavailable, now);
    let log: Vec<_> =
        picked.iter().zip(&grounds).map(|(it, why)| decision(tenant, &waiting[it.at], it, why, now)).collect();
    let rooms: Vec<_> = given.iter().map(|it| it.room).collect();
    let news = news(tx, tenant, &rooms, now).await?;
    rooms::store::decisions::insert_with_events(tx, now, &log, &news).await?;
    let is_active = |it: &&Given| it.offer_expires_at.is_none();
    for it in given.iter().filter(is_active) {
        open(tx, tenant, it.room, it.agent, now).await?;
    }
    // Each queue brought as many rooms as its free agents have seats; where some were not given, others behind them may fit.
    let is_done = given.len() == found && i64::try_from(found).is_ok_and(|it| it < MOST_AT_ONCE);
    Ok(Assigned { rooms: given.len(), is_done, says: given.iter().any(|it| is_active(&it)) })
}

fn decision(tenant: TenantId, room: &WaitingRoom, picked: &Picked, why: &Grounds, now: Moment) -> NewDecision {
    let reason = match room.fact.strategy {
        _ if picked.is_sticky => Reason::Sticky,
        Strategy::LongestIdle => Reason::LongestIdle,
        Strategy::LeastBusy => Reason::LeastBusy,
        Strategy::RoundRobin => Reason::RoundRobin,
    };
    let what = if room.is_auto { Decision::Assigned } else { Decision::Offered };
    let wait_s = if room.is_auto { waited_s(room.queued_at, room.accepted_at, now) } else { None };
    let noted = NewDecision::new(tenant, RoomId(room.fact.room), Some(room.fact.queue), what);
    NewDecision { detail: Some(shown(why)), ..noted.because(reason).agent(picked.agent).after(wait_s) }
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
    let log = news(tx, tenant, rooms, now).await?;
    events::append(tx, now, &log).await
}

/// What [`announce`] tells.
async fn news(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    rooms: &[RoomId],
    now: Moment,
) -> sqlx::Result<Vec<NewEvent>> {
    let ids: Vec<Uuid> = rooms.iter().map(|it| it.0).collect();
    let views = rooms::store::list_views(tx, &vec![tenant.0; ids.len()], &ids, now).await?;
    let log = views
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
    Ok(log)
}

/// Takes back what has rung for too long: the rooms go back to their places. How many.
async fn lapse(dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<usize> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    store::lock_dispatch(&mut tx, tenant).await?;
    let lapsed = store::lapse_offers(&mut tx, tenant, now, now + dispatch.rering).await?;
    let log: Vec<_> = lapsed
        .iter()
        .map(|it| {
            let what = if it.is_over { Decision::Lapsed } else { Decision::Withdrawn };
            let noted = NewDecision::new(tenant, it.room, Some(it.queue), what).agent(it.agent);
            match (it.is_over, it.sets_away) {
                (true, true) => noted.because(Reason::SetAway),
                (true, false) => noted,
                (false, _) => noted.because(Reason::Away),
            }
        })
        .collect();
    decisions::note(&mut tx, now, &log).await?;
    let agents: HashMap<_, _> = lapsed.iter().map(|it| (it.room, it.agent)).collect();
    let rooms: Vec<_> = lapsed.iter().map(|it| it.room.0).collect();
    let views = rooms::store::list_views(&mut tx, &vec![tenant.0; rooms.len()], &rooms, now).await?;
    let log: Vec<_> = views
        .iter()
        .map(|(_, view)| NewEvent::room(tenant, Kind::RoomOfferExpired, view).also_to(agents.get(&view.id).copied()))
        .collect();
    events::append(&mut tx, now, &log).await?;
    let leaving: BTreeSet<_> = lapsed.iter().filter(|it| it.sets_away).map(|it| it.agent).collect();
    for agent in leaving {
        presence::set(&mut tx, tenant, agent, AgentStatus::Away, Some("an offer lapsed"), now).await?;
    }
    tx.commit().await?;
    dispatch.ring(tenant);
    metrics::counter!("chatgate_offers_lapsed_total").increment(lapsed.len() as u64);
    Ok(lapsed.len())
}
