//! Understands one item of a webhook. Pure, and forgiving: whatever is odd about one field costs that field only.
//!
//! Not decided here: whether a tapped reply is an e-mail address or a phone number (that depends on what the room
//! asked for), and whether an echo is our own message.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    attachments::attachments,
    time::{moment, sensible},
};
use crate::{
    channels::{
        Content, Event, Via, What,
        meta::{
            envelope::Lane,
            json::{clean, elements, is_true, member, members, word},
        },
    },
    clock::Moment,
};

/// The item is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item is not JSON")]
pub struct Garbled;

type Fields<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// What an item says. `page_id` and `entry_time` are those that [`split`] found for it.
///
/// Items of other lanes than `messaging` are [`What::Other`]: nobody may answer them.
///
/// [`split`]: crate::channels::meta::envelope::split
pub fn normalize(
    item_raw: &str,
    lane: Lane,
    page_id: &str,
    entry_time: Option<i64>,
    received_at: Moment,
) -> Result<Event, Garbled> {
    let text = clean(item_raw);
    let Some(item) = members(&text) else {
        serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|_| Garbled)?;
        return Ok(Event { at: received_at, what: What::Other });
    };
    let at = moment(member(&item, "timestamp"), received_at)
        .or_else(|| sensible(entry_time?, received_at))
        .unwrap_or(received_at);
    let what = match lane {
        Lane::Messaging => understand(&item, page_id, received_at),
        Lane::Standby | Lane::Changes | Lane::Entry => What::Other,
    };
    Ok(Event { at, what })
}

fn understand(item: &Fields<'_>, page_id: &str, received_at: Moment) -> What {
    let fields = |name| member(item, name).and_then(members);
    if let Some(message) = fields("message") {
        message_of(item, &message, page_id)
    } else if member(item, "message").is_some() || member(item, "message_edit").is_some() {
        What::Other
    } else if let Some(postback) = fields("postback") {
        postback_of(item, &postback, page_id)
    } else if member(item, "reaction").is_some() {
        What::Other
    } else if let Some(delivery) = fields("delivery") {
        let (external_ids, watermark) = receipt_of(&delivery, received_at);
        What::Delivered { external_ids, watermark }
    } else if let Some(read) = fields("read") {
        let (external_ids, watermark) = receipt_of(&read, received_at);
        What::Read { external_ids, watermark }
    } else {
        What::Other
    }
}

fn message_of(item: &Fields<'_>, message: &Fields<'_>, page_id: &str) -> What {
    let is_set = |name| member(message, name).is_some_and(is_true);
    let mid = member(message, "mid").and_then(word).filter(|mid| !mid.is_empty());
    let content = content_of(message);
    if is_set("is_echo") {
        return What::Echo {
            external_id: mid.unwrap_or_else(|| made_id("echo", item, message)),
            app_id: member(message, "app_id").and_then(word),
            metadata: member(message, "metadata").and_then(word),
            content: content.unwrap_or_else(|| unsupported("empty")),
        };
    }
    // The page itself is nobody's customer, and a notice for admins (no mid, no content) is no message.
    if is_set("is_deleted") || !is_from_person(item, page_id) || (mid.is_none() && content.is_none()) {
        return What::Other;
    }
    let empty = || unsupported(if is_set("is_unsupported") { "unsupported" } else { "empty" });
    What::Inbound {
        external_id: mid.unwrap_or_else(|| made_id("msg", item, message)),
        content: content.unwrap_or_else(empty),
        reply_to: member(message, "reply_to").and_then(members).and_then(|it| word(member(&it, "mid")?)),
        referral: member(message, "referral").or_else(|| member(item, "referral")).and_then(object),
    }
}

fn content_of(message: &Fields<'_>) -> Option<Content> {
    let text = member(message, "text").and_then(word).filter(|text| !text.is_empty());
    let attached = member(message, "attachments").map(|list| elements(list).unwrap_or_else(|| vec![list]));
    // One attachment that cannot be read (numbers beyond any range, bottomless nesting) is still an attachment.
    let attached: Vec<Value> =
        attached.unwrap_or_default().into_iter().map(|it| serde_json::from_str(it).unwrap_or_default()).collect();
    if !attached.is_empty() {
        return Some(Content::Attachments { text, attachments: attachments(&attached) });
    }
    let tapped = member(message, "quick_reply").and_then(members).and_then(|it| word(member(&it, "payload")?));
    match tapped.filter(|payload| !payload.is_empty()) {
        Some(payload) => {
            Some(Content::Choice { text: text.unwrap_or_else(|| payload.clone()), payload, via: Via::QuickReply })
        }
        None => text.map(|text| Content::Text { text }),
    }
}

fn postback_of(item: &Fields<'_>, postback: &Fields<'_>, page_id: &str) -> What {
    if !is_from_person(item, page_id) {
        return What::Other;
    }
    let filled = |name| member(postback, name).and_then(word).filter(|text| !text.is_empty());
    let payload = filled("payload").unwrap_or_default();
    What::Inbound {
        external_id: filled("mid").unwrap_or_else(|| made_id("pb", item, postback)),
        content: Content::Choice {
            text: filled("title").unwrap_or_else(|| payload.clone()),
            payload,
            via: Via::Postback,
        },
        reply_to: None,
        referral: member(postback, "referral").or_else(|| member(item, "referral")).and_then(object),
    }
}

/// Mids and watermark of a receipt. Public fixtures also know a single `mid`.
fn receipt_of(receipt: &Fields<'_>, received_at: Moment) -> (Vec<String>, Option<Moment>) {
    let mut mids: Vec<String> = Vec::new();
    for list in ["mids", "mid"].into_iter().filter_map(|name| member(receipt, name)) {
        mids.extend(elements(list).unwrap_or_else(|| vec![list]).into_iter().filter_map(word));
    }
    mids.retain(|mid| !mid.is_empty());
    mids.dedup();
    (mids, moment(member(receipt, "watermark"), received_at))
}

fn is_from_person(item: &Fields<'_>, page_id: &str) -> bool {
    let sender = person(item);
    !sender.is_empty() && sender != page_id
}

/// Who sent it: an id, or where Messenger knows none yet, a `user_ref`.
fn person(item: &Fields<'_>) -> String {
    let sender = member(item, "sender").and_then(members).unwrap_or_default();
    member(&sender, "id").or_else(|| member(&sender, "user_ref")).and_then(word).unwrap_or_default()
}

/// An id for something that came without one; the same delivery makes the same id again.
fn made_id(prefix: &str, item: &Fields<'_>, body: &Fields<'_>) -> String {
    let timestamp = member(item, "timestamp").and_then(word).unwrap_or_default();
    let mut parts = vec![person(item), timestamp];
    match prefix {
        "pb" => parts.push(member(body, "payload").and_then(word).unwrap_or_default()),
        _ => parts.extend(body.iter().flat_map(|(key, value)| [key.to_string(), (*value).to_owned()])),
    }
    // Lengths in front, so that no two lists of parts read alike.
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    format!("{prefix}:{}", hex::encode(hash.finalize()))
}

fn object(raw: &str) -> Option<Value> {
    serde_json::from_str(raw).ok().filter(Value::is_object)
}

fn unsupported(what: &str) -> Content {
    Content::Unsupported { what: what.to_owned() }
}
