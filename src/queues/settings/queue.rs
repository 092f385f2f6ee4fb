//! Queues: who is asked, for how long, and what the contact hears meanwhile.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::QueueId,
    widgets::texts,
    words,
};

/// Longest offer: an hour.
const MAX_OFFER_S: i32 = 3600;
/// Longest of what is counted in seconds (wrap-up, overflow, service level): a day.
const MAX_SECONDS: i32 = 86_400;
/// Longest silence: a week.
const MAX_SILENT_MINUTES: i32 = 7 * 24 * 60;
/// Longest time for which a contact is remembered to their agent: 90 days.
const MAX_STICKY_MINUTES: i32 = 90 * 24 * 60;
/// Most rooms that may be let into one queue, where a limit is set at all.
const MAX_WAITING: i32 = 1_000_000;
/// Shortest interval of the waiting text: what comes oftener is a nuisance.
const MIN_TEXT_EVERY_S: i32 = 30;

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

/// A queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Its id.
    pub id: QueueId,
    /// What is set about it.
    #[serde(flatten)]
    pub settings: QueueInput,
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
    /// Which queue is served first: 1 first, 10 last.
    #[serde(default = "middle_priority")]
    #[schema(minimum = 1, maximum = 10, default = 5)]
    pub priority: i32,
    /// A contact who comes back within so many minutes is offered first to the agent they had, if that agent is ready and has a free
    /// seat; 0: never.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 129_600, default = 0)]
    pub sticky_minutes: i32,
    /// Seconds after which a room that still waits goes to `overflow_queue_id`; null: never. A full queue overflows at once.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86_400)]
    pub overflow_after_s: Option<i32>,
    /// Where rooms go that wait too long here.
    #[serde(default)]
    pub overflow_queue_id: Option<QueueId>,
    /// Most rooms that wait; null: no limit. The next new room is kept, but closed at once.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub max_waiting: Option<i32>,
    /// Said to whom the full queue turned away; empty: nothing.
    #[serde(default)]
    #[schema(max_length = 2000, default = "")]
    pub max_waiting_text: String,
    /// Seconds for which a closed room keeps its agent's seat.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 86_400, default = 0)]
    pub wrap_up_s: i32,
    /// Seconds within which a room should be accepted: what the service level counts.
    #[serde(default = "service_level")]
    #[schema(minimum = 1, maximum = 86_400, default = 60)]
    pub service_level_s: i32,
    /// Said to a contact whose room has to wait; may use `{position}`. Empty: nothing.
    #[serde(default)]
    #[schema(max_length = 2000, default = "", example = "You are number {position} in the queue.")]
    pub waiting_text: String,
    /// Seconds after which the waiting text is said again; null: it is said once.
    #[serde(default)]
    #[schema(minimum = 30, maximum = 86_400)]
    pub waiting_text_every_s: Option<i32>,
    /// Minutes of the contact's silence after an answer until `contact_silent_text` is said; null: never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_080)]
    pub contact_silent_minutes: Option<i32>,
    /// Reminds the contact; empty: nothing is said.
    #[serde(default)]
    #[schema(max_length = 2000, default = "")]
    pub contact_silent_text: String,
    /// Further minutes until the room is closed as `inactive`; null: never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_080)]
    pub contact_close_minutes: Option<i32>,
    /// Minutes of the agent's silence while the contact waits for an answer, until the room is flagged; null: never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_080)]
    pub agent_silent_minutes: Option<i32>,
    /// Further minutes until the room goes back to the front of the queue; null: never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_080)]
    pub agent_return_minutes: Option<i32>,
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

fn service_level() -> i32 {
    60
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
        faults.range("/priority", self.priority, 1..=10);
        faults.range("/sticky_minutes", self.sticky_minutes, 0..=MAX_STICKY_MINUTES);
        faults.range("/wrap_up_s", self.wrap_up_s, 0..=MAX_SECONDS);
        faults.range("/service_level_s", self.service_level_s, 1..=MAX_SECONDS);
        let silent = 1..=MAX_SILENT_MINUTES;
        for (pointer, value, range) in [
            ("/overflow_after_s", self.overflow_after_s, 1..=MAX_SECONDS),
            ("/max_waiting", self.max_waiting, 0..=MAX_WAITING),
            ("/waiting_text_every_s", self.waiting_text_every_s, MIN_TEXT_EVERY_S..=MAX_SECONDS),
            ("/contact_silent_minutes", self.contact_silent_minutes, silent.clone()),
            ("/contact_close_minutes", self.contact_close_minutes, silent.clone()),
            ("/agent_silent_minutes", self.agent_silent_minutes, silent.clone()),
            ("/agent_return_minutes", self.agent_return_minutes, silent),
        ] {
            if let Some(value) = value {
                faults.range(pointer, value, range);
            }
        }
        for (pointer, is_missing, of) in [
            (
                "/overflow_queue_id",
                self.overflow_after_s.is_some() && self.overflow_queue_id.is_none(),
                "overflow_after_s",
            ),
            (
                "/overflow_after_s",
                self.overflow_queue_id.is_some() && self.overflow_after_s.is_none(),
                "overflow_queue_id",
            ),
            (
                "/contact_silent_minutes",
                self.contact_close_minutes.is_some() && self.contact_silent_minutes.is_none(),
                "contact_close_minutes",
            ),
            (
                "/agent_silent_minutes",
                self.agent_return_minutes.is_some() && self.agent_silent_minutes.is_none(),
                "agent_return_minutes",
            ),
        ] {
            if is_missing {
                faults.add(pointer, format!("is needed with {of}"));
            }
        }
        texts::check(&mut faults, "/max_waiting_text", &mut self.max_waiting_text, &[]);
        texts::check(&mut faults, "/waiting_text", &mut self.waiting_text, &["position"]);
        texts::check(&mut faults, "/contact_silent_text", &mut self.contact_silent_text, &[]);
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
        check(r#"{"name":"Sales","max_waiting":-1,"wrap_up_s":-1}"#, &["/wrap_up_s", "/max_waiting"]);
        check(r#"{"name":"Sales","max_waiting":null}"#, &[]);
        check(
            r#"{"name":"Sales","waiting_text_every_s":29,"sticky_minutes":-1}"#,
            &["/sticky_minutes", "/waiting_text_every_s"],
        );
        check(
            r#"{"name":"Sales","contact_silent_minutes":0,"agent_silent_minutes":10081}"#,
            &["/contact_silent_minutes", "/agent_silent_minutes"],
        );
    }

    #[test]
    fn settings_that_need_another_name_it() {
        check(r#"{"name":"Sales","overflow_after_s":60}"#, &["/overflow_queue_id"]);
        check(r#"{"name":"Sales","contact_close_minutes":5}"#, &["/contact_silent_minutes"]);
        check(r#"{"name":"Sales","agent_return_minutes":5,"agent_silent_minutes":5}"#, &[]);
    }

    #[test]
    fn only_the_waiting_text_knows_the_position() {
        check(r#"{"name":"Sales","waiting_text":"Number {position}, {first_name}"}"#, &[]);
        check(r#"{"name":"Sales","max_waiting_text":"Number {position}"}"#, &["/max_waiting_text"]);
        check(r#"{"name":"Sales","contact_silent_text":"Hello {nickname}"}"#, &["/contact_silent_text"]);
    }
}
