//! The log of routing: every decision about whose a room is, with its reason, written in the transaction that decides. It holds ids and
//! numbers only; names and sentences are made when it is read.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CloseReason, Status,
    store::{self, LockedRoom, receive::NewRoom},
};
use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, UserId},
    words,
};

words! {
    /// What was decided about a room.
    pub enum Decision {
        /// It entered a queue.
        Queued = "queued",
        /// It waits for the opening.
        Held = "held",
        /// The hours are open: it may be offered.
        Released = "released",
        /// It was closed the moment it came.
        TurnedAway = "turned_away",
        /// It rings at an agent.
        Offered = "offered",
        /// An agent was given it without being asked.
        Assigned = "assigned",
        /// The agent took the offer.
        Accepted = "accepted",
        /// The agent refused the offer.
        Declined = "declined",
        /// The agent did not answer the offer in time.
        Lapsed = "lapsed",
        /// The offer was taken back.
        Withdrawn = "withdrawn",
        /// It waited too long and went to another queue.
        Overflowed = "overflowed",
        /// A person sent it to a queue or an agent.
        Transferred = "transferred",
        /// A supervisor took it, or gave it to somebody.
        Taken = "taken",
        /// The agent leaves the contact without an answer.
        Flagged = "flagged",
        /// It went back from its agent to the front of the queue.
        Returned = "returned",
        /// It ended.
        Closed = "closed",
    }
}

words! {
    /// Why it was decided.
    pub enum Reason {
        /// Of those free, the agent has been idle longest.
        LongestIdle = "longest_idle",
        /// Of those free, the agent has the smallest share of their seats taken.
        LeastBusy = "least_busy",
        /// It is the agent's turn.
        RoundRobin = "round_robin",
        /// The contact had this agent not long ago.
        Sticky = "sticky",
        /// A person chose the agent.
        Transfer = "transfer",
        /// The hours are closed.
        Offline = "offline",
        /// The widget leads to no queue.
        NoRoute = "no_route",
        /// The Page wrote to the contact elsewhere, and nobody has asked us anything.
        Elsewhere = "elsewhere",
        /// As many rooms wait as may.
        QueueFull = "queue_full",
        /// The agent went away.
        Away = "away",
        /// The agent went offline, or the room ended while the agent was.
        AgentGone = "agent_gone",
        /// The agent did not answer the contact.
        AgentSilent = "agent_silent",
        /// The agent was set away for it.
        SetAway = "set_away",
        /// It waited as long as the queue allows.
        Waited = "waited",
        /// The agent ended it.
        Agent = "agent",
        /// A supervisor ended it.
        Supervisor = "supervisor",
        /// The contact was silent too long.
        Inactive = "inactive",
        /// The contact cannot be reached any more.
        ContactGone = "contact_gone",
        /// The contact's data was erased.
        Erased = "erased",
    }
}

impl From<CloseReason> for Reason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Agent => Self::Agent,
            CloseReason::Supervisor => Self::Supervisor,
            CloseReason::Inactive => Self::Inactive,
            CloseReason::Offline => Self::Offline,
            CloseReason::NoRoute => Self::NoRoute,
            CloseReason::ContactGone => Self::ContactGone,
            CloseReason::Erased => Self::Erased,
        }
    }
}

/// A decision about to be noted.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct NewDecision {
    pub tenant: TenantId,
    pub room: RoomId,
    pub decision: Decision,
    pub reason: Option<Reason>,
    pub queue: Option<Uuid>,
    pub agent: Option<UserId>,
    pub by: Option<UserId>,
    /// Seconds it had waited, where this answered it or lost it.
    pub wait_s: Option<i32>,
    pub detail: Option<Value>,
}

impl NewDecision {
    /// Without a reason yet.
    #[must_use]
    pub fn new(tenant: TenantId, room: RoomId, queue: Option<Uuid>, decision: Decision) -> Self {
        Self { tenant, room, decision, reason: None, queue, agent: None, by: None, wait_s: None, detail: None }
    }

    /// About a room at hand, in its present queue.
    #[must_use]
    pub fn of(tenant: TenantId, room: &LockedRoom, decision: Decision) -> Self {
        Self::new(tenant, room.id, room.queue, decision)
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The agent it is about.
    #[must_use]
    pub fn agent(mut self, agent: UserId) -> Self {
        self.agent = Some(agent);
        self
    }

    /// The person who decided.
    #[must_use]
    pub fn by(mut self, by: Option<UserId>) -> Self {
        self.by = by;
        self
    }

    /// It answered or lost the room, which had waited so long.
    #[must_use]
    pub fn after(mut self, wait_s: Option<i32>) -> Self {
        self.wait_s = wait_s;
        self
    }
}

/// Seconds that a room has waited since it entered its queue; none if it was answered since.
#[must_use]
pub fn waited_s(queued_at: Option<Moment>, accepted_at: Option<Moment>, now: Moment) -> Option<i32> {
    let queued_at = queued_at.filter(|queued| accepted_at.is_none_or(|accepted| accepted < *queued))?;
    Some(i32::try_from((now - queued_at).num_seconds().max(0)).unwrap_or(i32::MAX))
}

/// Notes decisions in the transaction that takes them.
///
/// # Errors
/// The database's.
pub async fn note(tx: &mut PgConnection, now: Moment, decisions: &[NewDecision]) -> sqlx::Result<()> {
    if decisions.is_empty() {
        return Ok(());
    }
    store::decisions::insert(tx, now, decisions).await
}

/// Where new rooms went.
#[must_use]
pub(super) fn of_opened(rooms: &[NewRoom]) -> Vec<NewDecision> {
    let mut decisions = Vec::with_capacity(rooms.len());
    for it in rooms {
        let new = |decision| NewDecision::new(it.tenant, it.id, it.queue, decision);
        if it.is_overflow {
            decisions.push(new(Decision::Overflowed).because(Reason::QueueFull));
        }
        decisions.push(match (it.status, it.close_reason) {
            // Only a full queue closes a room that had one.
            (Status::Closed, Some(_)) if it.queue.is_some() => {
                new(Decision::TurnedAway).because(Reason::QueueFull).after(Some(0))
            }
            (Status::Closed, Some(reason)) => new(Decision::TurnedAway).because(reason.into()),
            _ if it.is_held => new(Decision::Held).because(Reason::Offline),
            _ if it.is_overflow => continue,
            _ => new(Decision::Queued),
        });
    }
    decisions
}
