//! What agents are doing, said by themselves, by a supervisor, or found out because their stream is gone.

use std::sync::{Mutex, PoisonError};

use sqlx::PgConnection;

use super::{
    AgentStatus, AgentView, Dispatch,
    store::{assign::lock_dispatch, presence as store},
};
use crate::{
    audit::{self, Actor},
    clock::{Clock, Moment},
    crew::{Step, Worker},
    ids::{RoomId, TenantId, UserId},
    rooms::{
        self,
        decisions::{self, Decision, NewDecision, Reason},
        events::{self, Kind, NewEvent},
    },
};

/// Sets an agent's status. None if the tenant has no such active agent. Whoever is not ready loses what rings at them. `by`: somebody
/// else than the agent, for the audit log.
///
/// # Errors
/// The database's.
pub async fn set_status(
    dispatch: &Dispatch,
    tenant: TenantId,
    user: UserId,
    status: AgentStatus,
    reason: Option<&str>,
    by: Option<&Actor>,
    now: Moment,
) -> sqlx::Result<Option<AgentView>> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    lock_dispatch(&mut tx, tenant).await?;
    let agent = set(&mut tx, tenant, user, status, reason, now).await?;
    if let (Some(_), Some(by)) = (&agent, by) {
        audit::note(&mut tx, tenant, by, "agent.status_set", user, now).await?;
    }
    tx.commit().await?;
    dispatch.ring(tenant);
    Ok(agent)
}

/// Sets an agent offline in the caller's transaction, which is about to take the right to answer away and then rings.
///
/// # Errors
/// The database's.
pub async fn leave(tx: &mut PgConnection, tenant: TenantId, user: UserId, now: Moment) -> sqlx::Result<()> {
    lock_dispatch(tx, tenant).await?;
    set(tx, tenant, user, AgentStatus::Offline, None, now).await.map(drop)
}

/// The same as [`set_status`] in the caller's transaction, which holds the dispatch lock.
pub(super) async fn set(
    tx: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    status: AgentStatus,
    reason: Option<&str>,
    now: Moment,
) -> sqlx::Result<Option<AgentView>> {
    // Rooms before agents, as everywhere: two transactions that need both cannot wait for each other.
    if status != AgentStatus::Ready {
        let why = if status == AgentStatus::Away { Reason::Away } else { Reason::AgentGone };
        for (room, queue) in store::withdraw_offers(tx, tenant, user, now).await? {
            let noted = NewDecision::new(tenant, room, queue, Decision::Withdrawn).because(why).agent(user);
            decisions::note(tx, now, &[noted]).await?;
            back(tx, tenant, room, Kind::RoomOfferExpired, user, now).await?;
        }
    }
    if !store::mark_status(tx, tenant, user, status, reason, now).await? {
        return Ok(None);
    }
    let agent = store::find_view(tx, tenant, user, now).await?;
    if let Some(agent) = &agent {
        let data = events::written(agent);
        let event = NewEvent {
            tenant,
            kind: Kind::AgentStatusChanged,
            room: None,
            agent: Some(user),
            former_agent: None,
            data,
        };
        events::append(tx, now, &[event]).await?;
    }
    Ok(agent)
}

/// Tells everybody, and who has just lost it, that a room waits again.
pub(super) async fn back(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    kind: Kind,
    former: UserId,
    now: Moment,
) -> sqlx::Result<()> {
    if let Some(view) = rooms::store::find_view(tx, tenant, room, now).await? {
        events::append(tx, now, &[NewEvent::room(tenant, kind, &view).also_to(Some(former))]).await?;
    }
    Ok(())
}

/// Puts a locked active room back to the front of its queue, for others first; the caller holds the dispatch lock.
pub(super) async fn give_back(
    tx: &mut PgConnection,
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    former: UserId,
    why: Reason,
    now: Moment,
) -> sqlx::Result<()> {
    let queue = store::mark_returned(tx, tenant, room, former, now, now + dispatch.rering).await?;
    let noted = NewDecision::new(tenant, room, queue, Decision::Returned).because(why).agent(former);
    decisions::note(tx, now, &[noted]).await?;
    back(tx, tenant, room, Kind::RoomQueued, former, now).await
}

/// Finds agents whose stream is gone, and rooms whose agents have been gone too long.
///
/// That nothing was heard of somebody says something only if it could have been heard: for as long as PostgreSQL is away nobody is able
/// to note open streams, and after a restart agents need a moment to come back. So nobody is judged until everything has gone well for as
/// long as a stream may be lost.
pub struct Watch {
    dispatch: Dispatch,
    clock: Clock,
    judges_from: Mutex<Moment>,
}

/// What is noted or looked at this late was held up.
const HELD_UP: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn new(dispatch: Dispatch, clock: Clock) -> Self {
        let judges_from = Mutex::new(clock.now() + dispatch.stream_lost);
        Self { dispatch, clock, judges_from }
    }

    /// Notes which agents have streams open in this process.
    ///
    /// # Errors
    /// The database's; nobody is judged for a while then.
    pub async fn note_streams(&self, open: &[(TenantId, UserId)]) -> sqlx::Result<()> {
        let (tenants, users): (Vec<_>, Vec<_>) = open.iter().map(|(tenant, user)| (tenant.0, user.0)).unzip();
        let began = self.clock.now();
        let noted = store::mark_streaming(&self.dispatch.db, &tenants, &users, began).await;
        self.went(began, noted)
    }

    /// What came of a question to the database that was asked at `began`: if it failed or took long, judging begins anew.
    fn went<T>(&self, began: Moment, result: sqlx::Result<T>) -> sqlx::Result<T> {
        let now = self.clock.now();
        if result.is_err() || now - began > HELD_UP {
            *self.judges_from.lock().unwrap_or_else(PoisonError::into_inner) = now + self.dispatch.stream_lost;
        }
        result
    }

    fn may_judge(&self, now: Moment) -> bool {
        *self.judges_from.lock().unwrap_or_else(PoisonError::into_inner) <= now
    }
}

impl Worker for Watch {
    const NAME: &'static str = "presence";

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let mut step = Step::Idle;
        // Asked even if nobody may be judged yet: it shows whether the database answers.
        let lost = store::list_lost(&self.dispatch.db, now - self.dispatch.stream_lost).await;
        let lost = self.went(now, lost)?;
        if !self.may_judge(now) {
            return Ok(Step::Idle);
        }
        for (tenant, user) in lost {
            tracing::info!(tenant.id = %tenant, agent.id = %user, "agent {user} lost the event stream and is set offline");
            set_status(&self.dispatch, tenant, user, AgentStatus::Offline, Some("connection lost"), None, now).await?;
            step = Step::Worked;
        }
        let since = now - self.dispatch.rooms_return;
        for (tenant, room) in store::list_left(&self.dispatch.db, since).await? {
            let mut tx = crate::db::begin(&self.dispatch.db).await?;
            lock_dispatch(&mut tx, tenant).await?;
            if let Some(former) = store::lock_left(&mut tx, tenant, room, since).await? {
                give_back(&mut tx, &self.dispatch, tenant, room, former, Reason::AgentGone, now).await?;
                step = Step::Worked;
            }
            tx.commit().await?;
            self.dispatch.ring(tenant);
        }
        Ok(step)
    }
}
