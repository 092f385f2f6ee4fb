//! What agents choose from while they answer: texts they have at hand, and whom and what a room can be given.

pub mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::{CannedAnswerId, QueueId, UserId, WidgetId},
    people::users::AgentStatus,
    widgets::Tags,
};

/// Longest shortcut, in characters.
const MAX_SHORTCUT: usize = 40;
/// Longest text, in characters: one message.
const MAX_TEXT: usize = 2000;

/// A text that agents have at hand: typed as `/shortcut`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CannedAnswer {
    /// Its id.
    pub id: CannedAnswerId,
    /// The queue whose rooms it is for; null: all.
    pub queue_id: Option<QueueId>,
    /// What is typed behind the slash.
    #[schema(example = "opening-hours")]
    pub shortcut: String,
    /// The text. The desk fills in `{first_name}`, `{name}` and `{agent_name}`.
    #[schema(example = "We are open from nine to six, {first_name}.")]
    pub text: String,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// What can be set about a canned answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CannedAnswerInput {
    /// The queue whose rooms it is for; null: all.
    #[serde(default)]
    pub queue_id: Option<QueueId>,
    /// What is typed behind the slash: letters, digits, hyphens and underscores; unique in its queue, case does not matter.
    #[schema(example = "opening-hours", min_length = 1, max_length = 40)]
    pub shortcut: String,
    /// The text, 1–2000 characters. The desk fills in `{first_name}`, `{name}` and `{agent_name}`.
    #[schema(example = "We are open from nine to six, {first_name}.", min_length = 1, max_length = 2000)]
    pub text: String,
}

impl CannedAnswerInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        self.shortcut = self.shortcut.to_lowercase();
        faults.line("/shortcut", &mut self.shortcut, 1..=MAX_SHORTCUT);
        if self.shortcut.chars().any(|it| !it.is_alphanumeric() && !"-_".contains(it)) {
            faults.add("/shortcut", "must have only letters, digits, hyphens and underscores");
        }
        faults.text("/text", &mut self.text, 1..=MAX_TEXT);
        faults.done()
    }
}

impl CannedAnswer {
    /// A canned answer with these settings.
    #[must_use]
    pub fn new(id: CannedAnswerId, input: CannedAnswerInput, created_at: Moment, updated_at: Moment) -> Self {
        Self { id, queue_id: input.queue_id, shortcut: input.shortcut, text: input.text, created_at, updated_at }
    }

    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> CannedAnswerInput {
        CannedAnswerInput { queue_id: self.queue_id, shortcut: self.shortcut.clone(), text: self.text.clone() }
    }
}

/// Why a canned answer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CannedError {
    /// Another one of the queue has the shortcut.
    #[error("the shortcut is taken")]
    ShortcutTaken,
    /// The tenant has no such queue.
    #[error("no such queue")]
    NoSuchQueue,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// Whom and what a room can be given: what every agent may know of the tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Directory {
    /// Who answers, by name.
    pub agents: Vec<Colleague>,
    /// Where rooms wait, by name.
    pub queues: Vec<QueueName>,
    /// Where rooms come in, and their tags.
    pub widgets: Vec<WidgetChoice>,
}

/// An agent as colleagues see them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Colleague {
    /// The user.
    pub id: UserId,
    /// Their name.
    pub name: String,
    /// `ready`, `away` or `offline`.
    pub status: AgentStatus,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Since when.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub status_since: Moment,
    /// Most rooms at a time.
    pub max_chats: i32,
    /// Rooms at present, offered and active.
    pub chats: i64,
}

/// A queue's name.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueName {
    /// The queue.
    pub id: QueueId,
    /// Its name.
    pub name: String,
}

/// A widget, as far as agents choose by it.
#[derive(Debug, Serialize, ToSchema)]
pub struct WidgetChoice {
    /// The widget.
    pub id: WidgetId,
    /// Its name.
    pub name: String,
    /// Tags for its rooms.
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shortcut: &str, text: &str, expected: &[&str]) {
        let mut input = CannedAnswerInput { queue_id: None, shortcut: shortcut.to_owned(), text: text.to_owned() };
        let found = input.check().err().map_or_else(Vec::new, |Invalid(found)| found);
        assert_eq!(found.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_shortcut_is_one_word() {
        check(" Opening-Hours ", "From nine to six.", &[]);
        check("çalışma_saati2", "x", &[]);
        check("two words", "x", &["/shortcut"]);
        check("/x", "x", &["/shortcut"]);
        check("", "", &["/shortcut", "/text"]);
        check(&"a".repeat(41), &"ü".repeat(2001), &["/shortcut", "/text"]);
    }
}
