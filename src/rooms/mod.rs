//! Rooms and what is said in them. A room is one contact's talk from opening to closing; it never asks queues, whoever calls it
//! already knows the place.

pub mod automatic;
pub mod changes;
pub mod decisions;
pub mod events;
pub mod files;
pub mod limits;
pub mod receipts;
pub mod receive;
pub mod say;
pub mod shared;
pub mod store;
pub mod told;
pub mod window_watch;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    channels::{
        Content,
        messenger::window::{AnswerPath, Opened, answer_path},
    },
    clock::{self, Moment},
    hours::LocalTime,
    ids::{ContactId, MessageId, QueueId, RoomId, TenantId, UserId, WidgetId},
};

/// Where a room stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Status {
    /// In a queue.
    Waiting,
    /// Rings at an agent.
    Offered,
    /// An agent has it.
    Active,
    /// Over.
    Closed,
}

/// Why a room is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CloseReason {
    Agent,
    Supervisor,
    Inactive,
    Offline,
    NoRoute,
    ContactGone,
    Erased,
}

/// An id with the name to show.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Named {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub name: String,
}

/// The widget of a room.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RoomWidget {
    /// The widget.
    pub id: WidgetId,
    /// Its name for the tenant's people.
    pub name: String,
    /// `messenger` or `webchat`.
    pub channel: String,
    /// `#rrggbb`.
    pub color: String,
}

/// The contact of a room.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RoomContact {
    /// The contact.
    pub id: ContactId,
    /// Full name, once known.
    pub name: Option<String>,
    /// First name, once known.
    pub first_name: Option<String>,
    /// Picture; expires.
    pub picture_url: Option<String>,
    /// E-mail address, once shared or entered.
    pub email: Option<String>,
    /// Phone number, once shared or entered.
    pub phone: Option<String>,
    /// The page-scoped sender id.
    pub sender_id: String,
}

/// An offer that rings.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Offer {
    /// Whom it rings.
    pub agent_id: UserId,
    /// When it lapses.
    #[serde(serialize_with = "clock::millis")]
    pub expires_at: DateTime<Utc>,
}

/// How a reply may go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowMode {
    /// Freely.
    Standard,
    /// By a person, with the HUMAN_AGENT tag.
    HumanAgent,
    /// Not at all before the contact writes again.
    Closed,
}

/// The messaging window of a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Window {
    /// How a reply may go out now.
    pub mode: WindowMode,
    /// End of the standard window.
    #[serde(serialize_with = "clock::millis_opt")]
    pub open_until: Option<DateTime<Utc>>,
    /// End of the time for people; null where the Page has no Human Agent feature.
    #[serde(serialize_with = "clock::millis_opt")]
    pub human_agent_until: Option<DateTime<Utc>>,
}

/// The window of a contact who did this.
#[must_use]
pub fn window(opened: Opened, human_agent: bool, now: Moment) -> Window {
    let mode = match answer_path(opened, human_agent, now) {
        AnswerPath::Standard { .. } => WindowMode::Standard,
        AnswerPath::HumanAgent { .. } => WindowMode::HumanAgent,
        AnswerPath::Closed => WindowMode::Closed,
    };
    let human_agent_until = opened.human_agent_until().filter(|_| human_agent);
    Window { mode, open_until: opened.standard_until(), human_agent_until }
}

/// Another app that answers the contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ThreadOwner {
    /// The app's id at Meta; null where it is not told.
    pub app_id: Option<String>,
    /// Since when.
    #[serde(serialize_with = "clock::millis")]
    pub since: DateTime<Utc>,
}

/// Hours after which nobody's control of a thread counts any more, unless it is renewed; Meta's number.
const CONTROL_HOURS: i64 = 24;

impl ThreadOwner {
    /// The owner, as far as what was told still counts.
    #[must_use]
    pub fn of(app_id: Option<String>, since: Option<Moment>, now: Moment) -> Option<Self> {
        let (app_id, since) = app_id.zip(since)?;
        let counts = now < since + TimeDelta::hours(CONTROL_HOURS);
        counts.then(|| Self { app_id: Some(app_id).filter(|it| !it.is_empty()), since })
    }
}

/// Answers that an estimate needs at least.
const FEWEST_ANSWERS: i64 = 3;

/// Seconds until the room at `position` is probably answered, when the last `answers` came since `since`. Counted up to now and not to the
/// last answer: while nobody answers, the estimate grows. Nothing where too little is known.
#[must_use]
pub fn estimate(position: i64, answers: i64, since: Moment, now: Moment) -> Option<i64> {
    if answers < FEWEST_ANSWERS {
        return None;
    }
    // The oldest of them began the time in which the others came.
    let each = (now - since).num_milliseconds().max(0) / (answers - 1);
    Some((position * each + 999) / 1000)
}

/// A room as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Room)]
pub struct RoomView {
    /// The room.
    pub id: RoomId,
    /// Where it stands.
    pub status: Status,
    /// Where it came in.
    pub widget: RoomWidget,
    /// Its queue; null where none was found for it.
    pub queue: Option<Named>,
    /// Who writes.
    pub contact: RoomContact,
    /// Who holds it.
    pub agent: Option<Named>,
    /// The offer, while it rings.
    pub offer: Option<Offer>,
    /// Place in its queue from 1, while waiting; of a room that is held for the opening, among those held.
    pub position: Option<i64>,
    /// Seconds until it is probably answered, by how fast its queue was answered in the last hour; null if that is not known.
    pub estimated_wait_s: Option<i64>,
    /// Since when it is flagged because its agent leaves the contact without an answer.
    #[serde(serialize_with = "clock::millis_opt")]
    pub agent_silent_since: Option<DateTime<Utc>>,
    /// Where the contact came from, as the channel told it.
    pub referral: Option<serde_json::Value>,
    /// Tags.
    pub tags: Vec<String>,
    /// The messaging window; null for channels without one.
    pub window: Option<Window>,
    /// Another app that answers the contact at the moment; null if we may.
    pub thread_owner: Option<ThreadOwner>,
    /// `seq` of the newest message.
    pub last_seq: i64,
    /// Inbound messages since the holder last replied or looked.
    pub unread: i32,
    /// Why it is closed.
    pub close_reason: Option<CloseReason>,
    /// When the first message came.
    #[serde(serialize_with = "clock::millis")]
    pub opened_at: DateTime<Utc>,
    /// When it entered its present queue.
    #[serde(serialize_with = "clock::millis_opt")]
    pub queued_at: Option<DateTime<Utc>>,
    /// When an agent took it.
    #[serde(serialize_with = "clock::millis_opt")]
    pub accepted_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(serialize_with = "clock::millis_opt")]
    pub closed_at: Option<DateTime<Utc>>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Direction {
    /// From the contact.
    Inbound,
    /// To the contact.
    Outbound,
    /// Among colleagues, never sent.
    Note,
    /// What happened in the room.
    System,
}

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum AuthorKind {
    Contact,
    Agent,
    Bot,
    System,
    Page,
}

/// The author of a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Author {
    /// What they are.
    pub kind: AuthorKind,
    /// Their id, where they have one.
    pub id: Option<Uuid>,
    /// Their name at that time.
    pub name: String,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Delivery {
    /// Came in (or was written down, for notes).
    Received,
    /// Waits to be sent.
    Queued,
    /// Accepted by the channel.
    Sent,
    /// Arrived.
    Delivered,
    /// Seen.
    Read,
    /// Will not be sent; `error` says why.
    Failed,
    /// May have been sent; an echo settles it.
    Uncertain,
    /// Taken back by its author.
    Unsent,
}

/// A message as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageView {
    /// The message.
    pub id: MessageId,
    /// Its room.
    pub room_id: RoomId,
    /// Its place in the room from 1, without gaps.
    pub seq: i64,
    /// Which way.
    pub direction: Direction,
    /// Who wrote.
    pub author: Author,
    /// What it says.
    #[schema(value_type = Content)]
    pub content: serde_json::Value,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Reactions: `{by, emoji}`.
    #[schema(value_type = Vec<Object>)]
    pub reactions: serde_json::Value,
    /// How far it has come.
    pub status: Delivery,
    /// When the author last changed it.
    #[serde(serialize_with = "clock::millis_opt")]
    pub edited_at: Option<DateTime<Utc>>,
    /// Why it failed: `{type, detail, meta_code, meta_subcode}`.
    #[schema(value_type = Option<Object>)]
    pub error: Option<serde_json::Value>,
    /// The channel's id.
    pub external_id: Option<String>,
    /// When we stored it.
    #[serde(serialize_with = "clock::millis")]
    pub created_at: DateTime<Utc>,
    /// When the channel accepted it.
    #[serde(serialize_with = "clock::millis_opt")]
    pub sent_at: Option<DateTime<Utc>>,
    /// When it arrived.
    #[serde(serialize_with = "clock::millis_opt")]
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was seen.
    #[serde(serialize_with = "clock::millis_opt")]
    pub read_at: Option<DateTime<Utc>>,
}

/// A message about to be stored; its `seq` is known because its room is locked.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Whose.
    pub tenant: TenantId,
    /// Where it came in or goes out.
    pub widget: WidgetId,
    /// When the channel says it was written.
    pub external_at: Option<Moment>,
    /// The rest.
    pub view: MessageView,
}

/// Where a new room goes; decided by whoever receives, from routes and hours.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Into this queue; `held` until the hours are open, with the offline text to say.
    Queue {
        /// The queue.
        queue: QueueId,
        /// Set while the hours are closed and the incoming chat holds.
        held: Option<Closed>,
        /// Set where only so many may wait.
        limit: Option<limits::Limit>,
        /// Whether there is a text to say to who comes into the queue.
        greets: bool,
    },
    /// Nowhere: the hours are closed.
    Offline(Closed),
    /// Nowhere: no enabled incoming chat.
    NoRoute,
}

impl Place {
    /// The limit of its queue, if there is one.
    pub(crate) fn limit(&self) -> Option<(QueueId, &limits::Limit)> {
        match self {
            Self::Queue { queue, limit: Some(limit), .. } => Some((*queue, limit)),
            _ => None,
        }
    }
}

/// A closed period and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// The offline message, with placeholders; may be empty.
    pub message: String,
    /// When the period began: names it, so that the message goes out once.
    pub since: Moment,
    /// The next opening on the clock of the hours, if there is one.
    pub next_open: Option<LocalTime>,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn an_estimate_follows_the_pace_and_grows_while_nobody_answers() {
        let second = |at| Moment::UNIX_EPOCH + TimeDelta::seconds(at);
        assert_eq!(estimate(1, 2, second(0), second(100)), None);
        assert_eq!(estimate(1, 11, second(0), second(100)), Some(10));
        assert_eq!(estimate(4, 11, second(0), second(100)), Some(40));
        assert_eq!(estimate(1, 11, second(0), second(1000)), Some(100));
        assert_eq!(estimate(2, 3, second(5), second(5)), Some(0));
    }
}
