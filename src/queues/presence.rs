//! What agents are doing, said by themselves, by a supervisor, or found out because their stream is gone.

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
pub struct Watch {
    /// What it works with.
    pub dispatch: Dispatch,
    /// The time.
    pub clock: Clock,
}

impl Worker for Watch {
    const NAME: &'static str = "presence";

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let mut step = Step::Idle;
        for (tenant, user) in store::list_lost(&self.dispatch.db, now - self.dispatch.stream_lost).await? {
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
