//! What the pretend Messenger remembers: apps, Pages, people and what they said to each other.

use std::collections::{BTreeMap, VecDeque};

use chrono::TimeDelta;
use serde_json::Value;

use super::{
    Delivery, Fault,
    files::{Hosted, Upload},
};
use crate::clock::Moment;

/// One message of the Page as the person sees it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct SentMessage {
    /// Message id, the same in the answer and in the echo.
    pub mid: String,
    /// The text, if it is not an attachment.
    pub text: Option<String>,
    /// The offered quick replies.
    pub quick_replies: Vec<QuickReply>,
    /// The attachment as sent, `{"type": …, "payload": …}`.
    pub attachment: Option<Value>,
    /// What the sender wrote for its own use; comes back in the echo.
    pub metadata: Option<String>,
    /// `RESPONSE`, `UPDATE`, `MESSAGE_TAG`…, if given.
    pub messaging_type: Option<String>,
    /// The message tag, if given.
    pub tag: Option<String>,
    /// The mid of the message that it answers, if given.
    pub reply_to: Option<String>,
    /// When Messenger took it, milliseconds.
    pub at_ms: i64,
}

impl SentMessage {
    /// The payload of a template (`template_type`, `text`, `buttons`, `elements`…), if it is one.
    #[must_use]
    pub fn template(&self) -> Option<&Value> {
        self.attachment.as_ref().filter(|it| it["type"] == "template").map(|it| &it["payload"])
    }
}

/// One chip below a message.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct QuickReply {
    /// `text`, `user_email` or `user_phone_number`.
    pub content_type: String,
    /// What the chip shows; text only.
    pub title: Option<String>,
    /// What comes back when tapped; text only.
    pub payload: Option<String>,
    /// A small picture in the chip.
    pub image_url: Option<String>,
}

/// One line of a chat.
#[derive(Clone, Debug)]
pub(super) enum Line {
    Page(SentMessage),
    Person(Said),
}

/// One line of the person.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub mid: String,
    pub text: Option<String>,
    /// Kind and address.
    pub attachment: Option<(String, String)>,
    /// The mid of the message that it answers.
    pub reply_to: Option<String>,
    /// How often it was edited.
    pub edits: u32,
    pub is_unsent: bool,
    pub at_ms: i64,
}

#[derive(Default)]
pub(super) struct World {
    pub apps: BTreeMap<String, App>,
    pub pages: BTreeMap<String, Page>,
    pub options: Options,
    /// Subscription fields that no app has the permissions for.
    pub withheld_fields: Vec<String>,
    pub deliveries: BTreeMap<u64, Delivery>,
    pub next_delivery: u64,
    /// Answers to sends whose echoes and receipts are not all entered yet.
    pub backlog: usize,
    /// What lies under an address of ours, by id.
    pub media: BTreeMap<u64, Hosted>,
    pub next_media: u64,
    last_stamp_ms: i64,
}

/// How this Messenger behaves.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub echoes: bool,
    pub receipts: bool,
    pub duplicates: bool,
    pub require_proof: bool,
    pub usage_percent: u32,
    pub echo_delay: TimeDelta,
    pub receipts_first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            echoes: true,
            receipts: true,
            duplicates: false,
            require_proof: false,
            usage_percent: 1,
            echo_delay: TimeDelta::zero(),
            receipts_first: false,
        }
    }
}

#[derive(Default)]
pub(super) struct App {
    pub secret: String,
    pub callback_url: Option<String>,
    pub fields: Vec<String>,
}

#[derive(Default)]
pub(super) struct Page {
    pub app_id: String,
    pub name: String,
    pub token: String,
    pub is_token_dead: bool,
    pub is_hanging: bool,
    /// Calls with its token, whatever became of them.
    pub calls: u64,
    pub hides_conversations: bool,
    /// The fields this Page sends to its app; `None` when the app is not installed.
    pub installed: Option<Vec<String>>,
    pub people: BTreeMap<String, Person>,
    pub faults: VecDeque<Fault>,
    /// Attachments uploaded ahead, by their ids.
    pub uploads: BTreeMap<String, Upload>,
    pub upload_faults: VecDeque<Fault>,
}

#[derive(Default)]
pub(super) struct Person {
    pub first_name: String,
    pub last_name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub is_profile_hidden: bool,
    /// The last thing the person did that opens the 24-hour window.
    pub acted_at: Option<Moment>,
    /// The person has clicked on an ad and not written since.
    pub has_clicked_ad: bool,
    /// Their first message after that.
    pub ad_message_at: Option<Moment>,
    pub is_window_closed: bool,
    pub lines: Vec<Line>,
    pub actions: Vec<String>,
    /// What the Page thinks of messages: mid and emoji.
    pub page_reactions: BTreeMap<String, String>,
    /// What the person thinks of messages.
    pub own_reactions: BTreeMap<String, String>,
    pub page_types_until: Option<Moment>,
    /// Everything the person wrote up to here was marked as seen by the Page, milliseconds.
    pub page_saw_ms: i64,
    /// The person read up to here, milliseconds.
    pub read_ms: i64,
}

impl Person {
    pub fn received(&self) -> Vec<SentMessage> {
        let sent = |line: &Line| match line {
            Line::Page(sent) => Some(sent.clone()),
            Line::Person(_) => None,
        };
        self.lines.iter().filter_map(sent).collect()
    }

    /// The chips on the screen: those of the last line, if the Page wrote it.
    pub fn offered(&self) -> &[QuickReply] {
        match self.lines.last() {
            Some(Line::Page(sent)) => &sent.quick_replies,
            _ => &[],
        }
    }

    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }
}

impl World {
    /// A millisecond stamp for something that happens at `now`; no two are equal, so that order can be told from
    /// them even while a manual clock stands still.
    pub fn stamp_ms(&mut self, now: Moment) -> i64 {
        self.last_stamp_ms = now.timestamp_millis().max(self.last_stamp_ms + 1);
        self.last_stamp_ms
    }

    pub fn page(&self, page_id: &str) -> Option<&Page> {
        self.pages.get(page_id)
    }

    pub fn person(&self, page_id: &str, psid: &str) -> Option<&Person> {
        self.page(page_id)?.people.get(psid)
    }

    /// The app that the script speaks of; scripts that name an unknown one are wrong.
    pub fn app_mut(&mut self, app_id: &str) -> &mut App {
        self.apps.get_mut(app_id).unwrap_or_else(|| panic!("the simulator has no app {app_id}"))
    }

    /// The Page that the script speaks of.
    pub fn page_mut(&mut self, page_id: &str) -> &mut Page {
        self.pages.get_mut(page_id).unwrap_or_else(|| panic!("the simulator has no Page {page_id}"))
    }

    /// The person that the script speaks of.
    pub fn person_mut(&mut self, page_id: &str, psid: &str) -> &mut Person {
        let people = &mut self.page_mut(page_id).people;
        people.get_mut(psid).unwrap_or_else(|| panic!("the simulator's Page {page_id} knows no person {psid}"))
    }
}

/// A message id in the form of today's, long and case-sensitive.
pub(super) fn fresh_mid() -> String {
    format!("m_{}{}", crate::secret::random_text(), crate::secret::random_text())
}
