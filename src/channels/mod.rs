//! What a channel is: a folder that turns bytes into events and messages into requests. Knows no room and no table.

pub mod messenger;
pub mod meta;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{clock::Moment, words};

/// What a message says, in the API's form; `kind` tells which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Plain text.
    Text {
        /// 1–2000 UTF-16 units per message sent; longer text is split at word borders.
        text: String,
    },
    /// Media, places and links, in the order they came.
    Attachments {
        /// Text that came with them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// At least one.
        attachments: Vec<Attachment>,
    },
    /// A tap on a quick reply or a button (inbound only).
    Choice {
        /// What the button says.
        text: String,
        /// The developer's string behind it.
        payload: String,
        /// How it was tapped.
        via: Via,
    },
    /// The contact shared an e-mail address or phone number (inbound only).
    SharedField {
        /// Which.
        field: Field,
        /// The address or number.
        value: String,
    },
    /// Asks the contact for an e-mail address or phone number (outbound only).
    RequestField {
        /// Which.
        field: Field,
        /// The prompt; the widget's prompt by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Text with 1–13 quick replies (outbound only).
    QuickReplies {
        /// The text above them.
        text: String,
        /// The choices.
        replies: Vec<QuickReply>,
    },
    /// Text with 1–3 buttons (outbound only).
    Buttons {
        /// At most 640 characters.
        text: String,
        /// The buttons.
        buttons: Vec<Button>,
    },
    /// 1–10 cards (outbound only).
    Carousel {
        /// The cards.
        elements: Vec<Card>,
    },
    /// Something the channel cannot carry (inbound only).
    Unsupported {
        /// What it was.
        what: String,
    },
}

impl Content {
    /// The files of ours in it.
    pub fn files(&self) -> impl Iterator<Item = Uuid> + '_ {
        let attachments = match self {
            Self::Attachments { attachments, .. } => attachments.as_slice(),
            _ => &[],
        };
        attachments.iter().filter_map(|it| it.id)
    }
}

/// How a choice was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A quick reply below a message.
    QuickReply,
    /// A button, Get Started, the menu, an ice breaker.
    Postback,
}

/// A contact's field that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
}

/// One attachment; keys that do not apply are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AttachmentKind,
    /// The file's id, where we keep it. A reply names an upload by it, or what a contact sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// How far the file has come to us; absent for places and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<FileState>,
    /// Why it could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FileReason>,
    /// Where it is: a link of ours that expires once the file is stored, the channel's before; for links anything the sender typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Title of a link or product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Latitude; 0 is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    /// Longitude; 0 is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<f64>,
    /// What the channel calls a file that it has; known only while it is sent.
    #[serde(skip)]
    pub handle: Option<String>,
}

words! {
    /// Kinds of attachment.
    #[derive(Default)]
    pub enum AttachmentKind {
        /// A picture.
        Image = "image",
        /// A film.
        Video = "video",
        /// Sound.
        Audio = "audio",
        /// Any other file.
        File = "file",
        /// A sticker.
        Sticker = "sticker",
        /// A place.
        Location = "location",
        /// A link, or something shared.
        Link = "link",
        /// Something new.
        #[default]
        Unknown = "unknown",
    }
}

words! {
    /// How far a file has come.
    pub enum FileState {
        /// On its way to us.
        Pending = "pending",
        /// We keep it.
        Stored = "stored",
        /// We do not; see `reason`.
        Failed = "failed",
    }
}

words! {
    /// Why a file could not be kept.
    pub enum FileReason {
        /// It has more bytes than the gateway keeps.
        TooLarge = "too_large",
        /// It is not what it came as, or a program.
        WrongType = "wrong_type",
        /// It has no bytes.
        Empty = "empty",
        /// It lies where the gateway does not fetch from.
        Refused = "refused",
        /// It could not be fetched.
        Unavailable = "unavailable",
    }
}

/// A quick reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuickReply {
    /// At most 20 characters.
    pub title: String,
    /// At most 1000 characters.
    pub payload: String,
}

/// A button below a text or card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Button {
    /// Opens a page.
    Url {
        /// At most 20 characters.
        title: String,
        /// http or https.
        url: String,
    },
    /// Sends `payload` back to us.
    Postback {
        /// At most 20 characters.
        title: String,
        /// At most 1000 characters.
        payload: String,
    },
    /// Calls a number.
    Call {
        /// At most 20 characters.
        title: String,
        /// International, beginning with `+`.
        phone: String,
    },
}

/// A card of a carousel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// At most 80 characters.
    pub title: String,
    /// At most 80 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtitle: Option<String>,
    /// A picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Opened by a tap on the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// At most 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Button>,
}

/// One item of a webhook, understood. `external` ids are the channel's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened by the channel's clock, or when we received it if the channel's time is absent or absurd.
    pub at: Moment,
    /// What happened.
    pub what: What,
    /// What it told about the contact besides.
    pub fact: Option<Fact>,
}

/// Something to remember about a contact; the newest of each name counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// `optin`, `account_linking`, `lead` …
    pub name: &'static str,
    /// What was told, without tokens.
    pub value: serde_json::Value,
}

/// What happened to a thread that several apps may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadChange {
    /// Its owner passed it on.
    Passed,
    /// An app that may took it.
    Taken,
    /// An app asks for it.
    Requested,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The contact wrote, tapped or shared something.
    Inbound {
        /// Unique per page; a mid, or made from the item where the channel gives none.
        external_id: String,
        /// What it says.
        content: Content,
        /// External id of the message it answers.
        reply_to: Option<String>,
        /// Where the contact came from (ad, link), as the channel told it.
        referral: Option<serde_json::Value>,
    },
    /// The page wrote: our own send coming back, or the Page inbox, or another app.
    Echo {
        /// The sent message's id.
        external_id: String,
        /// Which app sent it, where known.
        app_id: Option<String>,
        /// What our send carried; names our message (`cg:<uuid>`) if it was ours.
        metadata: Option<String>,
        /// What it says.
        content: Content,
    },
    /// These arrived, and everything sent up to the watermark.
    Delivered {
        /// External ids, may be empty.
        external_ids: Vec<String>,
        /// Everything sent before or at this moment.
        watermark: Option<Moment>,
    },
    /// Everything sent up to the watermark (or this one message) was read.
    Read {
        /// External ids, mostly empty.
        external_ids: Vec<String>,
        /// Everything sent before or at this moment.
        watermark: Option<Moment>,
    },
    /// A message says something else now.
    Edited {
        /// Which message.
        external_id: String,
        /// The new text.
        text: Option<String>,
        /// Which edit of it this is, from 1.
        number: Option<i64>,
    },
    /// A message was taken back by its author.
    Unsent {
        /// Which message.
        external_id: String,
    },
    /// Somebody reacted to a message.
    Reacted {
        /// Which message, theirs or ours.
        external_id: String,
        /// The reaction; nothing if it was taken back.
        emoji: Option<String>,
        /// The page reacted, not the contact.
        by_page: bool,
    },
    /// The contact came into their thread by a link or an ad, and has not said anything yet.
    Referred {
        /// Where from, as the channel told it.
        referral: serde_json::Value,
        /// Whether that alone lets the page write.
        opens_window: bool,
    },
    /// Something for whoever has the room to know.
    Notice {
        /// Made from the item.
        external_id: String,
        /// What happened, in words.
        text: String,
        /// External id of the message it is about.
        about: Option<String>,
    },
    /// Which app answers the contact.
    Thread {
        /// Made from the item.
        external_id: String,
        /// What happened.
        change: ThreadChange,
        /// Who has the thread now, or asks for it, where known.
        app_id: Option<String>,
        /// Who had it, where known.
        previous_app_id: Option<String>,
    },
    /// The channel warns, blocks or unblocks the page.
    Policy {
        /// `warning`, `block`, `unblock`.
        action: String,
        /// Why, in the channel's words.
        reason: Option<String>,
    },
    /// Which roles apps have in the page's threads.
    Roles {
        /// Roles by app id.
        roles: std::collections::BTreeMap<String, Vec<String>>,
    },
    /// Real, but not used yet; kept and counted under this kind.
    Other,
}
