//! Who is next: where a new room goes, which agent it is offered to, and whose it is from then on.

pub mod assign;
pub mod board;
pub mod moves;
pub mod opening;
pub mod pick;
pub mod place;
pub mod presence;
pub mod settings;
pub mod store;
pub mod story;
pub mod timers;
pub mod why;

pub use crate::people::users::AgentStatus;
use crate::{
    clock::Moment,
    db::bell::{Bell, Topic},
    ids::{TenantId, UserId},
};

/// What the verbs of this module work with.
#[derive(Clone)]
pub struct Dispatch {
    /// The database.
    pub db: sqlx::PgPool,
    /// Wakes who waits for what a verb did.
    pub bell: Bell,
    /// How long an agent who passed on a room is not rung for it again.
    pub rering: chrono::TimeDelta,
    /// How long an agent who lost the event stream stays as they are.
    pub stream_lost: chrono::TimeDelta,
    /// How long the active rooms of an offline agent stay theirs.
    pub rooms_return: chrono::TimeDelta,
}

impl Dispatch {
    /// After a commit: something may be assigned, something happened, something may go out.
    pub(crate) fn ring(&self, tenant: TenantId) {
        self.bell.ring(Topic::Queues(tenant));
        self.bell.ring(Topic::Events(tenant));
        self.bell.ring(Topic::Outbox);
    }
}

/// The person who moves a room.
#[derive(Clone, Debug)]
pub struct Mover {
    /// The user, unless it is an API key.
    pub id: Option<UserId>,
    /// Shown in texts.
    pub name: String,
    /// May move every room of the tenant.
    pub sees_all: bool,
}

impl Mover {
    pub(crate) fn holds(&self, agent: Option<UserId>) -> bool {
        self.id.is_some() && self.id == agent
    }
}

/// An agent as the API shows it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Agent)]
pub struct AgentView {
    /// The user.
    pub id: UserId,
    /// Their name.
    pub name: String,
    /// `ready`, `away` or `offline`.
    pub status: AgentStatus,
    /// What they said, or why the gateway set it.
    pub reason: Option<String>,
    /// Since when.
    #[serde(serialize_with = "crate::clock::millis")]
    pub status_since: chrono::DateTime<chrono::Utc>,
    /// Simultaneous rooms, offered and active.
    pub max_chats: i32,
    /// Rooms at present, offered and active.
    pub chats: i64,
    /// Closed rooms that keep a seat for a while, because their queue leaves time to wrap up.
    pub wrapping_up: i64,
}

/// Whether `at` has come.
pub(crate) fn is_due(at: Option<Moment>, now: Moment) -> bool {
    at.is_some_and(|at| at <= now)
}
