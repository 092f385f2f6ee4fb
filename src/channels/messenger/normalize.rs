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
    told::told,
};
use crate::{
    channels::{
        Content, Event, Fact, Via, What,
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

pub(super) type Fields<'a> = Vec<(Cow<'a, str>, &'a str)>;

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
        return Ok(Event { at: received_at, what: What::Other, fact: None });
    };
    let at = moment(member(&item, "timestamp"), received_at)
        .or_else(|| sensible(entry_time?, received_at))
        .unwrap_or(received_at);
    let (what, fact) = match lane {
        Lane::Messaging => understand(&item, page_id, received_at),
        Lane::Standby | Lane::Changes | Lane::Entry => (What::Other, None),
    };
    Ok(Event { at, what, fact })
}

fn understand(item: &Fields<'_>, page_id: &str, received_at: Moment) -> (What, Option<Fact>) {
    let fields = |name| member(item, name).and_then(members);
    let what = if let Some(message) = fields("message") {
        message_of(item, &message, page_id)
    } else if member(item, "message").is_some() {
        What::Other
    } else if let Some(postback) = fields("postback").filter(|_| member(item, "message_edit").is_none()) {
        postback_of(item, &postback, page_id)
    } else if member(item, "message_edit").is_some() || member(item, "reaction").is_some() {
        return told(item, page_id).unwrap_or((What::Other, None));
    } else if let Some(delivery) = fields("delivery") {
        let (external_ids, watermark) = receipt_of(&delivery, received_at);
        What::Delivered { external_ids, watermark }
    } else if let Some(read) = fields("read") {
        let (external_ids, watermark) = receipt_of(&read, received_at);
        What::Read { external_ids, watermark }
    } else {
        return told(item, page_id).unwrap_or((What::Other, None));
    };
    (what, checkbox(item))
}

/// The checkbox on a web site knew the person by a name of its own before their first message.
fn checkbox(item: &Fields<'_>) -> Option<Fact> {
    let user_ref = member(&member(item, "prior_message").and_then(members)?, "identifier").and_then(word)?;
    Some(Fact { name: "checkbox", value: serde_json::json!({ "user_ref": user_ref }) })
}

fn message_of(item: &Fields<'_>, message: &Fields<'_>, page_id: &str) -> What {
    let is_set = |name| member(message, name).is_some_and(is_true);
    let mid = member(message, "mid").and_then(word).filter(|mid| !mid.is_empty());
    if is_set("is_deleted") {
        return mid.map_or(What::Other, |external_id| What::Unsent { external_id });
    }
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
    if !is_from_person(item, page_id) || (mid.is_none() && content.is_none()) {
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

pub(super) fn is_from_person(item: &Fields<'_>, page_id: &str) -> bool {
    let sender = person(item);
    !sender.is_empty() && sender != page_id
}

/// Who sent it: an id, or where Messenger knows none yet, a `user_ref`.
fn person(item: &Fields<'_>) -> String {
    let sender = member(item, "sender").and_then(members).unwrap_or_default();
    member(&sender, "id").or_else(|| member(&sender, "user_ref")).and_then(word).unwrap_or_default()
}

/// An id for something that came without one; the same delivery makes the same id again.
pub(super) fn made_id(prefix: &str, item: &Fields<'_>, body: &Fields<'_>) -> String {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channels::{Attachment, AttachmentKind};

    fn at(ms: i64) -> Moment {
        chrono::DateTime::from_timestamp_millis(ms).expect("a real moment")
    }

    /// Anna (7) writes to page 1; received at 1763630103000.
    fn read(raw: &str, lane: Lane) -> Event {
        normalize(raw, lane, "1", Some(1_763_630_102_500), at(1_763_630_103_000)).expect("JSON")
    }

    fn event(body: &str) -> String {
        format!(r#"{{"sender":{{"id":"7"}},"recipient":{{"id":"1"}},"timestamp":1763630102114,{body}}}"#)
    }

    #[track_caller]
    fn check(body: &str, expected: What) {
        assert_eq!(
            read(&event(body), Lane::Messaging),
            Event { at: at(1_763_630_102_114), what: expected, fact: None },
            "{body}"
        );
    }

    #[track_caller]
    fn check_content(message: &str, expected: Value) {
        let Event { what: What::Inbound { content, .. }, .. } =
            read(&event(&format!(r#""message":{message}"#)), Lane::Messaging)
        else {
            panic!("{message} is something a contact says")
        };
        assert_eq!(json!(content), expected, "{message}");
    }

    fn inbound(external_id: &str, content: Content) -> What {
        What::Inbound { external_id: external_id.to_owned(), content, reply_to: None, referral: None }
    }

    #[test]
    fn what_contacts_say_becomes_content() {
        check_content(r#"{"mid":"m","text":"Hi"}"#, json!({"kind": "text", "text": "Hi"}));
        check_content(r#"{"mid":"m","text":" \n "}"#, json!({"kind": "text", "text": " \n "}));
        check_content(
            r#"{"mid":"m","text":"a\u0000\ud83d\ud83d\ude00"}"#,
            json!({"kind": "text", "text": "a\u{fffd}\u{fffd}😀"}),
        );
        check_content(
            r#"{"mid":"m","text":"Green","quick_reply":{"payload":"GREEN"}}"#,
            json!({"kind": "choice", "text": "Green", "payload": "GREEN", "via": "quick_reply"}),
        );
        check_content(
            r#"{"mid":"m","text":"Yes","quick_reply":{"payload":""}}"#,
            json!({"kind": "text", "text": "Yes"}),
        );
        check_content(r#"{"mid":"m","text":"Yes","quick_reply":null}"#, json!({"kind": "text", "text": "Yes"}));
        check_content(r#"{"mid":"m"}"#, json!({"kind": "unsupported", "what": "empty"}));
        check_content(r#"{"mid":"m","text":"","attachments":[]}"#, json!({"kind": "unsupported", "what": "empty"}));
        check_content(r#"{"mid":"m","is_unsupported":true}"#, json!({"kind": "unsupported", "what": "unsupported"}));
        check_content(
            r#"{"mid":"m","text":"See","attachments":[{"type":"image","payload":{"url":"https://a.example/1","x":1e999}},{"type":"location","payload":{"coordinates":{"lat":0,"long":0}}}]}"#,
            json!({"kind": "attachments", "text": "See", "attachments": [{"type": "unknown"}, {"type": "location", "lat": 0.0, "long": 0.0}]}),
        );
        let long = "x".repeat(50_000);
        check_content(&format!(r#"{{"mid":"m","text":"{long}"}}"#), json!({"kind": "text", "text": long}));
        let deep = "[".repeat(500) + &"]".repeat(500);
        check_content(&format!(r#"{{"mid":"m","text":"Hi","nlp":{deep}}}"#), json!({"kind": "text", "text": "Hi"}));
    }

    #[test]
    fn replies_and_referrals_are_kept() {
        check(
            r#""message":{"mid":"m2","text":"this","reply_to":{"mid":"m1"},"referral":{"ref":"spring"}}"#,
            What::Inbound {
                external_id: "m2".to_owned(),
                content: Content::Text { text: "this".to_owned() },
                reply_to: Some("m1".to_owned()),
                referral: Some(json!({"ref": "spring"})),
            },
        );
        check(
            r#""message":{"mid":"m2","text":"this","reply_to":{"story":{"id":"1"}},"referral":"odd"}"#,
            inbound("m2", Content::Text { text: "this".to_owned() }),
        );
    }

    #[test]
    fn postbacks_are_choices_and_have_an_id_in_any_case() {
        let choice = |text: &str, payload: &str| Content::Choice {
            text: text.to_owned(),
            payload: payload.to_owned(),
            via: Via::Postback,
        };
        check(r#""postback":{"mid":"m","title":"Start","payload":"START"}"#, inbound("m", choice("Start", "START")));
        check(r#""postback":{"mid":"m","title":"","payload":"START"}"#, inbound("m", choice("START", "START")));
        let id_of = |timestamp: &str, payload: &str| {
            let raw =
                format!(r#"{{"sender":{{"id":"7"}},"timestamp":{timestamp},"postback":{{"payload":"{payload}"}}}}"#);
            match read(&raw, Lane::Messaging).what {
                What::Inbound { external_id, .. } => external_id,
                other => panic!("{other:?}"),
            }
        };
        assert!(id_of("1763630102114", "A").starts_with("pb:") && id_of("1763630102114", "A").len() == 67);
        assert_eq!(id_of("1763630102114", "A"), id_of("1763630102114", "A"));
        assert_ne!(id_of("1763630102114", "A"), id_of("1763630102114", "B"));
        assert_ne!(id_of("1763630102114", "A"), id_of("1763630102115", "A"));
    }

    #[test]
    fn echoes_are_never_inbound() {
        let echo = |external_id: &str, app_id: Option<&str>, metadata: Option<&str>, content| What::Echo {
            external_id: external_id.to_owned(),
            app_id: app_id.map(str::to_owned),
            metadata: metadata.map(str::to_owned),
            content,
        };
        let text = || Content::Text { text: "Yes".to_owned() };
        check(
            r#""message":{"is_echo":true,"app_id":500001,"metadata":"cg:1","mid":"m","text":"Yes"}"#,
            echo("m", Some("500001"), Some("cg:1"), text()),
        );
        check(
            r#""message":{"is_echo":true,"app_id":"500001","mid":"m","text":"Yes"}"#,
            echo("m", Some("500001"), None, text()),
        );
        check(r#""message":{"is_echo":true,"mid":"m"}"#, echo("m", None, None, unsupported("empty")));
        let card = Attachment { kind: AttachmentKind::Unknown, title: Some("A lamp".to_owned()), ..<_>::default() };
        check(
            r#""message":{"is_echo":true,"mid":"m","attachments":[{"type":"template","title":"A lamp","url":null}]}"#,
            echo("m", None, None, Content::Attachments { text: None, attachments: vec![card] }),
        );
    }

    #[test]
    fn receipts_have_mids_watermarks_or_both() {
        let delivered = |ids: &[&str], watermark: Option<i64>| What::Delivered {
            external_ids: ids.iter().map(ToString::to_string).collect(),
            watermark: watermark.map(at),
        };
        check(
            r#""delivery":{"mids":["a","b"],"watermark":1763630101000}"#,
            delivered(&["a", "b"], Some(1_763_630_101_000)),
        );
        check(r#""delivery":{"watermark":"1763630101"}"#, delivered(&[], Some(1_763_630_101_000)));
        check(r#""delivery":{"mid":"a","mids":null}"#, delivered(&["a"], None));
        check(r#""delivery":{"mids":[],"watermark":0}"#, delivered(&[], None));
        check(
            r#""read":{"watermark":1763630101000}"#,
            What::Read { external_ids: vec![], watermark: Some(at(1_763_630_101_000)) },
        );
        check(r#""read":{"mid":"a"}"#, What::Read { external_ids: vec!["a".to_owned()], watermark: None });
    }

    #[test]
    fn what_nobody_may_answer_is_other() {
        check(r#""message":{"admin_text":"x"}"#, What::Other);
        check(r#""message":"x""#, What::Other);
        check(r#""message_edit":{"text":"x"}"#, What::Other);
        check(r#""reaction":{"mid":"m"}"#, What::Other);
        check(r#""game_play":{"game_id":"1"}"#, What::Other);
        check(r#""something_new":{}"#, What::Other);
        let hello = event(r#""message":{"mid":"m","text":"Hi"}"#);
        for lane in [Lane::Standby, Lane::Changes, Lane::Entry] {
            assert_eq!(read(&hello, lane).what, What::Other);
        }
        let other = |raw: &str| assert_eq!(read(raw, Lane::Messaging).what, What::Other, "{raw}");
        other(r#"{"sender":{"id":"1"},"recipient":{"id":"7"},"message":{"mid":"m","text":"Hi"}}"#);
        other(r#"{"recipient":{"id":"1"},"message":{"mid":"m","text":"Hi"}}"#);
        other("null");
        other("[1e999]");
        assert_eq!(normalize("{", Lane::Messaging, "1", None, at(0)), Err(Garbled));
        assert_eq!(normalize("", Lane::Messaging, "1", None, at(0)), Err(Garbled));
    }

    #[test]
    fn an_absurd_time_is_replaced_by_the_entrys_and_that_by_ours() {
        let received_at = at(1_763_630_103_000);
        let when = |timestamp: &str, entry_time| {
            let raw = format!(r#"{{"timestamp":{timestamp},"read":{{}}}}"#);
            normalize(&raw, Lane::Messaging, "1", entry_time, received_at).expect("JSON").at
        };
        assert_eq!(when("1763630102114", None), at(1_763_630_102_114));
        assert_eq!(when("\"1763630102\"", None), at(1_763_630_102_000));
        assert_eq!(when("0", Some(1_763_630_102_500)), at(1_763_630_102_500));
        assert_eq!(when("9999999999999", Some(1_763_630_102)), at(1_763_630_102_000));
        assert_eq!(when("null", Some(0)), received_at);
        assert_eq!(when("null", None), received_at);
    }
}
