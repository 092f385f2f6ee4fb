//! What an admin sets about queues, their members and incoming chats.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod queue;

pub use queue::{Accept, OfferTimeoutAction, Queue, QueueInput, Strategy};

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::{HoursId, IncomingChatId, QueueId, UserId, WidgetId},
    widgets::texts,
    words,
};

words! {
    /// What happens to messages outside working hours.
    pub enum AfterHours {
        /// They are kept in a room that is closed.
        Close = "close",
        /// The room waits for the next opening.
        Hold = "hold",
    }
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
    /// The overflow would lead back to the queue.
    #[error("the overflow leads back")]
    OverflowCircle,
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
        texts::check(&mut faults, "/offline_message", &mut self.offline_message, &[]);
        faults.done()
    }
}
