//! What happens at this moment: queues and agents of a tenant, as a snapshot and as a stream of what changes. Two statements read all of
//! it; streams of one tenant in one process share them, however many people watch.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use chrono::DateTime;
use jiff::{Timestamp, civil::Time, tz::TimeZone};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};
use utoipa::ToSchema;

use super::{AgentStatus, store::board as store};
use crate::{
    clock::{Clock, Moment, millis, millis_opt},
    crew::Crew,
    db::bell::Bell,
    ids::{QueueId, TenantId, UserId},
};

/// Shortest time between two looks at the database for streams: what people can follow.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time: what no bell tells, such as the end of a wrap-up.
const POLL: Duration = Duration::from_secs(5);

/// What happens at this moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Live)]
pub struct Board {
    /// This moment.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub at: Moment,
    /// The zone in which today is today.
    pub time_zone: String,
    /// When today began.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub today_since: Moment,
    /// All queues.
    pub queues: Vec<QueueState>,
    /// All agents, and whoever else holds rooms.
    pub agents: Vec<AgentState>,
}

/// A queue at this moment, and today.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LiveQueue)]
pub struct QueueState {
    /// The queue.
    pub id: QueueId,
    /// Its name.
    #[schema(example = "Sales")]
    pub name: String,
    /// Rooms that wait for an agent.
    pub waiting: i64,
    /// Rooms that wait for the opening.
    pub held: i64,
    /// Since when the first of those that wait has been waiting.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub waiting_since: Option<Moment>,
    /// The same in seconds.
    pub longest_wait_s: Option<i64>,
    /// Rooms that ring.
    pub offered: i64,
    /// Rooms with an agent.
    pub active: i64,
    /// Members who are ready.
    pub agents_ready: i64,
    /// Their free seats.
    pub free_seats: i64,
    /// Answered today.
    pub answered_today: i64,
    /// Ended today without an answer, or turned away by the full queue.
    pub lost_today: i64,
    /// The share of today's answers that came within `service_level_s`, 0–1; null before the first.
    pub service_level: Option<f64>,
    /// Seconds within which a room should be accepted.
    pub service_level_s: i32,
}

/// An agent at this moment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = LiveAgent)]
pub struct AgentState {
    /// The agent.
    pub id: UserId,
    /// Their name.
    #[schema(example = "Ben")]
    pub name: String,
    /// `ready`, `away` or `offline`.
    pub status: AgentStatus,
    /// What they said, or why the gateway set it.
    pub reason: Option<String>,
    /// Since when.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub status_since: Moment,
    /// The same in seconds.
    pub status_s: i64,
    /// Seats.
    pub max_chats: i32,
    /// Rooms that ring.
    pub offered: i64,
    /// Rooms they hold.
    pub active: i64,
    /// Closed rooms that keep a seat for a while.
    pub wrapping_up: i64,
    /// Queues they serve.
    pub queue_ids: Vec<QueueId>,
}

/// What has changed since the event before.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LiveChange)]
pub struct Change<'a> {
    /// This moment.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub at: Moment,
    /// Queues that changed, whole.
    pub queues: Vec<&'a QueueState>,
    /// Agents who changed, whole.
    pub agents: Vec<&'a AgentState>,
}

impl QueueState {
    /// Without what ticks.
    fn steady(&self) -> Self {
        Self { longest_wait_s: None, ..self.clone() }
    }
}

impl AgentState {
    /// Without what ticks.
    fn steady(&self) -> Self {
        Self { status_s: 0, ..self.clone() }
    }
}

impl Board {
    /// What is different from the `before`; none if nothing is, or everything must be shown again because something is new or gone.
    fn changed_since<'a>(&'a self, before: &Self) -> Option<Change<'a>> {
        let (queues, agents): (HashMap<_, _>, HashMap<_, _>) = (
            before.queues.iter().map(|it| (it.id, it.steady())).collect(),
            before.agents.iter().map(|it| (it.id, it.steady())).collect(),
        );
        Some(Change {
            at: self.at,
            queues: self.queues.iter().filter(|it| queues.get(&it.id) != Some(&it.steady())).collect(),
            agents: self.agents.iter().filter(|it| agents.get(&it.id) != Some(&it.steady())).collect(),
        })
    }

    fn shows_the_same_as(&self, other: &Self) -> bool {
        let ids = |it: &Self| {
            let queues: HashSet<_> = it.queues.iter().map(|it| it.id.0).collect();
            let agents: HashSet<_> = it.agents.iter().map(|it| it.id.0).collect();
            (it.today_since, queues, agents)
        };
        ids(self) == ids(other)
    }
}

/// When the day of `now` began in `zone`.
fn today_since(now: Moment, zone: &TimeZone) -> Moment {
    let at = Timestamp::from_second(now.timestamp()).unwrap_or(Timestamp::MIN).to_zoned(zone.clone());
    let start = at.start_of_day().map_or_else(
        |_| zone.to_ambiguous_timestamp(at.date().to_datetime(Time::midnight())).compatible().unwrap_or(Timestamp::MIN),
        |it| it.timestamp(),
    );
    DateTime::from_timestamp(start.as_second(), 0).unwrap_or_default()
}

/// The board at `now`.
///
/// # Errors
/// The database's.
pub async fn load(db: &PgPool, tenant: TenantId, zone: &TimeZone, now: Moment) -> sqlx::Result<Board> {
    let today_since = today_since(now, zone);
    let agents = store::list_agents(db, tenant, now).await?;
    let mut queues = store::list_queues(db, tenant, today_since, now).await?;
    let at: HashMap<QueueId, usize> = queues.iter().enumerate().map(|(at, it)| (it.id, at)).collect();
    for agent in agents.iter().filter(|it| it.status == AgentStatus::Ready) {
        let free = (i64::from(agent.max_chats) - agent.offered - agent.active - agent.wrapping_up).max(0);
        for queue in agent.queue_ids.iter().filter_map(|it| at.get(it)) {
            queues[*queue].agents_ready += 1;
            queues[*queue].free_seats += free;
        }
    }
    Ok(Board { at: now, time_zone: zone.iana_name().unwrap_or("UTC").to_owned(), today_since, queues, agents })
}

/// Hands out streams of boards. Cheap to clone.
#[derive(Clone)]
pub struct Boards {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    crew: Crew,
    followed: Followed,
}

type Followed = Arc<Mutex<HashMap<(TenantId, String), Weak<watch::Sender<Arc<Board>>>>>>;

impl Boards {
    /// Nobody watches yet.
    #[must_use]
    pub fn new(db: PgPool, bell: Bell, clock: Clock, crew: Crew) -> Self {
        Self { db, bell, clock, crew, followed: Followed::default() }
    }

    /// A stream that begins with the board as it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn follow(&self, tenant: TenantId, zone: &TimeZone) -> sqlx::Result<Watcher> {
        let key = (tenant, zone.iana_name().unwrap_or("UTC").to_owned());
        let known = |followed: &Followed| {
            followed.lock().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(Weak::upgrade)
        };
        if let Some(sender) = known(&self.followed) {
            return Ok(Watcher { news: sender.subscribe(), shown: None, _sender: sender });
        }
        let rings = self.bell.events();
        let board = load(&self.db, tenant, zone, self.clock.now()).await?;
        let sender = Arc::new(watch::Sender::new(Arc::new(board)));
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, it| it.strong_count() > 0);
        followed.insert(key, Arc::downgrade(&sender));
        drop(followed);
        let look = Look { db: self.db.clone(), clock: self.clock.clone(), tenant, zone: zone.clone() };
        self.crew.spawn(look.again_and_again(rings, Arc::downgrade(&sender), self.crew.stop_token()));
        Ok(Watcher { news: sender.subscribe(), shown: None, _sender: sender })
    }
}

/// Looks for all who watch one tenant's board.
struct Look {
    db: PgPool,
    clock: Clock,
    tenant: TenantId,
    zone: TimeZone,
}

impl Look {
    async fn again_and_again(
        self,
        mut rings: broadcast::Receiver<TenantId>,
        sender: Weak<watch::Sender<Arc<Board>>>,
        stop: tokio_util::sync::CancellationToken,
    ) {
        loop {
            tokio::select! { () = tokio::time::sleep(PAUSE) => {}, () = stop.cancelled() => return }
            tokio::select! {
                () = rung(&mut rings, self.tenant) => {}
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return,
            }
            let Some(sender) = sender.upgrade() else { return };
            match load(&self.db, self.tenant, &self.zone, self.clock.now()).await {
                Ok(board) => drop(sender.send_replace(Arc::new(board))),
                Err(error) => {
                    tracing::warn!(tenant.id = %self.tenant, error = %error, "the live view of tenant {} cannot be read; trying again", self.tenant);
                }
            }
        }
    }
}

async fn rung(rings: &mut broadcast::Receiver<TenantId>, tenant: TenantId) {
    loop {
        match rings.recv().await {
            Ok(rung) if rung != tenant && rung != Bell::EVERY_TENANT => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// One stream.
pub struct Watcher {
    news: watch::Receiver<Arc<Board>>,
    shown: Option<Arc<Board>>,
    _sender: Arc<watch::Sender<Arc<Board>>>,
}

/// What a stream shows next: a name and JSON.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `snapshot` or `changed`.
    pub kind: &'static str,
    /// A [`Board`] or a [`Change`].
    pub json: String,
}

impl Watcher {
    /// The next event: a snapshot first, and whenever something is new or gone; else what changed. A slow reader misses none of it, only
    /// states in between.
    pub async fn next(&mut self) -> Shown {
        loop {
            if self.shown.is_some() && self.news.changed().await.is_err() {
                // Cannot be: we hold the sender.
                std::future::pending::<()>().await;
            }
            let board = Arc::clone(&self.news.borrow_and_update());
            let before = self.shown.replace(Arc::clone(&board)).filter(|it| it.shows_the_same_as(&board));
            match before.and_then(|it| board.changed_since(&it)) {
                None => return shown("snapshot", &*board),
                Some(change) if change.queues.is_empty() && change.agents.is_empty() => {}
                Some(change) => return shown("changed", &change),
            }
        }
    }
}

fn shown(kind: &'static str, what: &impl Serialize) -> Shown {
    Shown { kind, json: serde_json::to_string(what).expect("the API's resources have text keys only") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(now: &str, zone: &str, expected: &str) {
        let zone = TimeZone::get(zone).unwrap();
        let began = today_since(now.parse().unwrap(), &zone);
        assert_eq!(began, expected.parse::<Moment>().unwrap());
    }

    #[test]
    fn today_begins_at_local_midnight_or_where_that_is_skipped_at_the_first_instant() {
        check("2026-11-20T22:30:00Z", "Europe/Istanbul", "2026-11-20T21:00:00Z");
        check("2026-11-20T20:30:00Z", "Europe/Istanbul", "2026-11-19T21:00:00Z");
        check("2026-11-20T20:30:00Z", "UTC", "2026-11-20T00:00:00Z");
        // Clocks went from 23:59:59 to 01:00 there.
        check("2026-04-24T12:00:00Z", "Africa/Cairo", "2026-04-23T22:00:00Z");
    }
}
