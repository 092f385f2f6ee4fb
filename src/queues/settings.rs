//! What an admin sets about queues, their members and incoming chats.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::{HoursId, IncomingChatId, QueueId, UserId, WidgetId},
    words,
};

/// Longest offer: an hour.
const MAX_OFFER_S: i32 = 3600;
/// Longest pause after a room: a day.
const MAX_WRAP_UP_S: i32 = 86_400;
/// Most rooms that may be let into one queue, where a limit is set at all.
const MAX_WAITING: i32 = 1_000_000;
/// Longest offline message, in characters; what is longer is sent as several messages.
const MAX_OFFLINE_MESSAGE: usize = 2000;

words! {
    /// Who of the ready members is next.
    pub enum Strategy {
        /// Who has been idle longest.
        LongestIdle = "longest_idle",
        /// Who has the fewest rooms.
        LeastBusy = "least_busy",
        /// One after the other.
        RoundRobin = "round_robin",
    }
}

words! {
    /// How an agent gets a room.
    pub enum Accept {
        /// The agent accepts the offer.
        Manual = "manual",
        /// At once.
        Auto = "auto",
    }
}

words! {
    /// What happens when an offer lapses.
    pub enum OfferTimeoutAction {
        /// The room goes back to its place.
        Requeue = "requeue",
        /// The same, and the agent is set away.
        RequeueAndAway = "requeue_and_away",
    }
}

words! {
    /// What happens to messages outside working hours.
    pub enum AfterHours {
        /// They are kept in a room that is closed.
        Close = "close",
        /// The room waits for the next opening.
        Hold = "hold",
    }
}

/// A queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Its id.
    pub id: QueueId,
    /// Its name.
    #[schema(example = "Sales")]
    pub name: String,
    /// Who of the ready members is next.
    pub strategy: Strategy,
    /// How an agent gets a room.
    pub accept: Accept,
    /// Seconds until an offer lapses.
    pub offer_timeout_s: i32,
    /// What happens then.
    pub offer_timeout_action: OfferTimeoutAction,
    /// Most rooms that wait; null: no limit.
    pub max_waiting: Option<i32>,
    /// Seconds for which a closed room keeps its agent's seat.
    pub wrap_up_s: i32,
    /// Which queue is served first: 1 first, 10 last.
    pub priority: i32,
    /// When it was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// What can be set about a queue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueInput {
    /// Its name, unique in the tenant.
    #[schema(example = "Sales", min_length = 1, max_length = 200)]
    pub name: String,
    /// Who of the ready members is next.
    #[serde(default = "longest_idle")]
    #[schema(default = "longest_idle")]
    pub strategy: Strategy,
    /// How an agent gets a room.
    #[serde(default = "manual")]
    #[schema(default = "manual")]
    pub accept: Accept,
    /// Seconds until an offer lapses.
    #[serde(default = "offer_timeout")]
    #[schema(minimum = 1, maximum = 3600, default = 30)]
    pub offer_timeout_s: i32,
    /// What happens then.
    #[serde(default = "requeue")]
    #[schema(default = "requeue")]
    pub offer_timeout_action: OfferTimeoutAction,
    /// Most rooms that wait; null: no limit.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub max_waiting: Option<i32>,
    /// Seconds for which a closed room keeps its agent's seat.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 86_400, default = 0)]
    pub wrap_up_s: i32,
    /// Which queue is served first: 1 first, 10 last.
    #[serde(default = "middle_priority")]
    #[schema(minimum = 1, maximum = 10, default = 5)]
    pub priority: i32,
}

fn longest_idle() -> Strategy {
    Strategy::LongestIdle
}

fn manual() -> Accept {
    Accept::Manual
}

fn offer_timeout() -> i32 {
    30
}

fn requeue() -> OfferTimeoutAction {
    OfferTimeoutAction::Requeue
}

fn middle_priority() -> i32 {
    5
}

/// An agent in a queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = QueueMember)]
pub struct Member {
    /// The agent.
    pub user_id: UserId,
    /// The agent's name.
    #[schema(example = "Anna")]
    pub name: String,
    /// 1 is asked first, 10 last.
    pub priority: i32,
}

/// What can be set about an agent in a queue.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueueMemberInput)]
pub struct MemberInput {
    /// 1 is asked first, 10 last.
    #[serde(default = "first")]
    #[schema(minimum = 1, maximum = 10, default = 1)]
    pub priority: i32,
}

fn first() -> i32 {
    1
}

/// Which queue a widget's rooms join, and when.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IncomingChat {
    /// Its id.
    pub id: IncomingChatId,
    /// Its name.
    #[schema(example = "Acme page to Sales")]
    pub name: String,
    /// The widget.
    pub widget_id: WidgetId,
    /// The queue.
    pub queue_id: QueueId,
    /// When it is open; null: always.
    pub working_hours_id: Option<HoursId>,
    /// Sent once per contact and closed period; empty: nothing.
    pub offline_message: String,
    /// What happens to messages outside working hours.
    pub after_hours: AfterHours,
    /// False: what arrives is kept in closed rooms.
    pub enabled: bool,
    /// When it was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// What can be set about an incoming chat.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncomingChatInput {
    /// Its name.
    #[schema(example = "Acme page to Sales", min_length = 1, max_length = 200)]
    pub name: String,
    /// The widget; it has at most one incoming chat.
    pub widget_id: WidgetId,
    /// The queue.
    pub queue_id: QueueId,
    /// When it is open; null: always.
    #[serde(default)]
    pub working_hours_id: Option<HoursId>,
    /// Sent once per contact and closed period; empty: nothing.
    #[serde(default)]
    #[schema(max_length = 2000, default = "")]
    pub offline_message: String,
    /// What happens to messages outside working hours.
    #[serde(default = "close")]
    #[schema(default = "close")]
    pub after_hours: AfterHours,
    /// False: what arrives is kept in closed rooms.
    #[serde(default = "enabled")]
    #[schema(default = true)]
    pub enabled: bool,
}

fn close() -> AfterHours {
    AfterHours::Close
}

fn enabled() -> bool {
    true
}

/// Why queues, members or incoming chats cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Another queue has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The widget has an incoming chat.
    #[error("the widget has an incoming chat")]
    WidgetTaken,
    /// These fields name nothing of the tenant.
    #[error("something named does not exist")]
    Missing(Vec<&'static str>),
    /// Rooms or incoming chats refer to it.
    #[error("still in use")]
    InUse,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

impl Queue {
    /// A queue with these settings.
    #[must_use]
    pub fn new(id: QueueId, input: QueueInput, created_at: Moment, updated_at: Moment) -> Self {
        Self {
            id,
            name: input.name,
            strategy: input.strategy,
            accept: input.accept,
            offer_timeout_s: input.offer_timeout_s,
            offer_timeout_action: input.offer_timeout_action,
            max_waiting: input.max_waiting,
            wrap_up_s: input.wrap_up_s,
            priority: input.priority,
            created_at,
            updated_at,
        }
    }

    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> QueueInput {
        QueueInput {
            name: self.name.clone(),
            strategy: self.strategy,
            accept: self.accept,
            offer_timeout_s: self.offer_timeout_s,
            offer_timeout_action: self.offer_timeout_action,
            max_waiting: self.max_waiting,
            wrap_up_s: self.wrap_up_s,
            priority: self.priority,
        }
    }
}

impl QueueInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        faults.name("/name", &mut self.name);
        faults.range("/offer_timeout_s", self.offer_timeout_s, 1..=MAX_OFFER_S);
        if let Some(most) = self.max_waiting {
            faults.range("/max_waiting", most, 0..=MAX_WAITING);
        }
        faults.range("/wrap_up_s", self.wrap_up_s, 0..=MAX_WRAP_UP_S);
        faults.range("/priority", self.priority, 1..=10);
        faults.done()
    }
}

impl MemberInput {
    /// Checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        faults.range("/priority", self.priority, 1..=10);
        faults.done()
    }
}

impl IncomingChat {
    /// An incoming chat with these settings.
    #[must_use]
    pub fn new(id: IncomingChatId, input: IncomingChatInput, created_at: Moment, updated_at: Moment) -> Self {
        Self {
            id,
            name: input.name,
            widget_id: input.widget_id,
            queue_id: input.queue_id,
            working_hours_id: input.working_hours_id,
            offline_message: input.offline_message,
            after_hours: input.after_hours,
            enabled: input.enabled,
            created_at,
            updated_at,
        }
    }

    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> IncomingChatInput {
        IncomingChatInput {
            name: self.name.clone(),
            widget_id: self.widget_id,
            queue_id: self.queue_id,
            working_hours_id: self.working_hours_id,
            offline_message: self.offline_message.clone(),
            after_hours: self.after_hours,
            enabled: self.enabled,
        }
    }
}

impl IncomingChatInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        faults.name("/name", &mut self.name);
        faults.text("/offline_message", &mut self.offline_message, 0..=MAX_OFFLINE_MESSAGE);
        faults.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let mut input: QueueInput = serde_json::from_str(body).unwrap();
        let found = input.check().err().map_or_else(Vec::new, |Invalid(found)| found);
        assert_eq!(found.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_is_enough_and_ranges_hold() {
        check(r#"{"name":"Sales"}"#, &[]);
        check(r#"{"name":"Sales","offer_timeout_s":0,"priority":11}"#, &["/offer_timeout_s", "/priority"]);
        check(r#"{"name":"Sales","max_waiting":-1,"wrap_up_s":-1}"#, &["/max_waiting", "/wrap_up_s"]);
        check(r#"{"name":"Sales","max_waiting":null}"#, &[]);
    }
}
