//! The event log: one per tenant; drives the stream, the pull and the forwards.
//!
//! An event's cursor is (transaction id, sequence). A reader takes events whose transaction is below every running one, so that a
//! slow transaction is never overtaken and missed. The id is the writer's own, or that of the newest transaction that had ended when
//! the statement began, if it is higher: whoever waits for a room may have had an id before the one who held it (migration 0079).
//! Whoever appends about a room has locked it in an earlier statement, or asks for the id when it has (`events_xid`, migration 0082).

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{MessageView, RoomView, store};
use crate::{
    clock::{self, Moment},
    ids::{RoomId, TenantId, UserId},
    widgets::Widget,
};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    #[serde(rename = "room.opened")]
    RoomOpened,
    #[serde(rename = "room.queued")]
    RoomQueued,
    #[serde(rename = "room.offered")]
    RoomOffered,
    #[serde(rename = "room.offer_expired")]
    RoomOfferExpired,
    #[serde(rename = "room.accepted")]
    RoomAccepted,
    #[serde(rename = "room.declined")]
    RoomDeclined,
    #[serde(rename = "room.transferred")]
    RoomTransferred,
    #[serde(rename = "room.closed")]
    RoomClosed,
    #[serde(rename = "room.updated")]
    RoomUpdated,
    #[serde(rename = "message.created")]
    MessageCreated,
    #[serde(rename = "message.updated")]
    MessageUpdated,
    #[serde(rename = "contact.updated")]
    ContactUpdated,
    #[serde(rename = "contact.typing")]
    ContactTyping,
    #[serde(rename = "agent.status_changed")]
    AgentStatusChanged,
    #[serde(rename = "widget.health_changed")]
    WidgetHealthChanged,
}

impl Kind {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoomOpened => "room.opened",
            Self::RoomQueued => "room.queued",
            Self::RoomOffered => "room.offered",
            Self::RoomOfferExpired => "room.offer_expired",
            Self::RoomAccepted => "room.accepted",
            Self::RoomDeclined => "room.declined",
            Self::RoomTransferred => "room.transferred",
            Self::RoomClosed => "room.closed",
            Self::RoomUpdated => "room.updated",
            Self::MessageCreated => "message.created",
            Self::MessageUpdated => "message.updated",
            Self::ContactUpdated => "contact.updated",
            Self::ContactTyping => "contact.typing",
            Self::AgentStatusChanged => "agent.status_changed",
            Self::WidgetHealthChanged => "widget.health_changed",
        }
    }
}

/// An event about to be appended.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose log.
    pub tenant: TenantId,
    /// What happened.
    pub kind: Kind,
    /// Where.
    pub room: Option<RoomId>,
    /// The agent who may see it.
    pub agent: Option<UserId>,
    /// The agent who lost the room by it.
    pub former_agent: Option<UserId>,
    /// The resource, as the API shows it.
    pub data: Box<RawValue>,
}

impl NewEvent {
    /// Something happened to a room.
    #[must_use]
    pub fn room(tenant: TenantId, kind: Kind, room: &RoomView) -> Self {
        let agent = room.agent.as_ref().map(|it| UserId(it.id)).or(room.offer.as_ref().map(|it| it.agent_id));
        Self { tenant, kind, room: Some(room.id), agent, former_agent: None, data: written(room) }
    }

    /// A message was written or changed, in a room held by `agent`.
    #[must_use]
    pub fn message(tenant: TenantId, kind: Kind, message: &MessageView, agent: Option<UserId>) -> Self {
        Self { tenant, kind, room: Some(message.room_id), agent, former_agent: None, data: written(message) }
    }

    /// A widget works, or has stopped working.
    #[must_use]
    pub fn widget_health(tenant: TenantId, widget: &Widget) -> Self {
        let data = written(widget);
        Self { tenant, kind: Kind::WidgetHealthChanged, room: None, agent: None, former_agent: None, data }
    }

    /// Shown to the agent who lost the room as well.
    #[must_use]
    pub fn also_to(mut self, former: Option<UserId>) -> Self {
        self.former_agent = former;
        self
    }
}

/// A resource as JSON; ours always can be.
#[must_use]
pub fn shown(resource: &impl Serialize) -> Value {
    serde_json::to_value(resource).expect("the API's resources have text keys only")
}

/// The same, as text: it is only passed on.
#[must_use]
pub fn written(resource: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(resource).expect("the API's resources have text keys only")
}

/// Appends events in the caller's transaction; ring the bell after its commit.
///
/// # Errors
/// The database's.
pub async fn append(tx: &mut PgConnection, now: Moment, events: &[NewEvent]) -> sqlx::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    store::insert_events(tx, now, events).await
}

/// An event as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// The cursor: give it as `after` or `Last-Event-ID` to go on behind this event.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// When.
    #[serde(serialize_with = "clock::millis")]
    pub at: DateTime<Utc>,
    /// Where, if in a room.
    pub room_id: Option<RoomId>,
    /// The resource as it was then.
    #[schema(value_type = Value)]
    pub data: Box<RawValue>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    /// Transaction id: the writer's, or a later one's that had ended before.
    pub xid: i64,
    /// Sequence within all transactions.
    pub seq: i64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.xid, self.seq)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (xid, seq) = text.split_once('-').ok_or(())?;
        let number = |it: &str| it.parse::<i64>().ok().filter(|it| *it >= 0).ok_or(());
        Ok(Self { xid: number(xid)?, seq: number(seq)? })
    }
}

/// A stored event with who may see it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its place.
    pub cursor: Cursor,
    /// Agents who may see it.
    pub agents: [Option<Uuid>; 2],
    /// What is shown.
    pub event: EventView,
}
