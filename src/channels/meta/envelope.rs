//! Takes a webhook body apart into items, one per event, and says which page and which person each is about.
//! Looks no deeper than that: what an item says is read later, in `normalize`.

use std::borrow::Cow;

use super::json::{clean, elements, is_true, member, members, word};

/// Items of one body; Meta sends at most 1000. A body with more is kept as one item.
const MOST_ITEMS: usize = 20_000;

/// One event of a webhook body, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The body's `object`: `page`, `instagram` …; empty if it has none.
    pub object: Cow<'static, str>,
    /// Which list of the entry it stood in.
    pub channel: Lane,
    /// The page it is about; empty if nothing says so.
    pub page_id: String,
    /// The person it is about (a PSID or a `user_ref`); empty if nobody.
    pub sender: String,
    /// What it is, for counting: `message`, `echo`, `standby.message`, `change.feed`, `empty`, `malformed`, `unknown` …
    pub kind: Cow<'static, str>,
    /// The entry's `time` as it came: milliseconds, or seconds for changes.
    pub entry_time: Option<i64>,
    /// Its JSON text, with NUL and lone surrogates replaced, otherwise as it came.
    pub raw: Box<str>,
}

/// Where in an entry an item stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// `messaging`: for the app that has the thread.
    Messaging,
    /// `standby`: another app has the thread; observe only.
    Standby,
    /// `changes`: page feed, labels and the like.
    Changes,
    /// The entry or body itself: it holds no event that could be told apart.
    Entry,
}

impl Lane {
    /// Its word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messaging => "messaging",
            Self::Standby => "standby",
            Self::Changes => "changes",
            Self::Entry => "entry",
        }
    }

    /// The lane a stored word means; anything else is the entry itself, which nobody acts on.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "messaging" => Self::Messaging,
            "standby" => Self::Standby,
            "changes" => Self::Changes,
            _ => Self::Entry,
        }
    }
}

/// The body is not JSON, or not an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object")]
pub struct Unreadable;

/// The items of a body in its order: of each entry first `messaging`, then `standby`, then `changes`.
///
/// Never empty: a body or entry without any event is an item of kind `empty`, so that it is counted.
pub fn split(raw_body: &[u8]) -> Result<Vec<Item>, Unreadable> {
    let text = String::from_utf8_lossy(raw_body);
    let text = clean(text.trim_start_matches('\u{feff}'));
    let body = members(&text).ok_or(Unreadable)?;
    let object = match member(&body, "object").and_then(word).unwrap_or_default() {
        // Copied into each item.
        page if page == "page" => Cow::Borrowed("page"),
        other => Cow::Owned(other),
    };
    let whole = |kind| Entry::of(object.clone()).item(Lane::Entry, kind, text.trim());

    let Some(entries) = member(&body, "entry") else { return Ok(vec![whole("empty")]) };
    let Some(entries) = elements(entries) else { return Ok(vec![whole("malformed")]) };
    if entries.is_empty() {
        return Ok(vec![whole("empty")]);
    }
    let mut items = Vec::with_capacity(entries.len());
    for entry in entries {
        split_entry(object.clone(), entry, &mut items);
        if items.len() > MOST_ITEMS {
            return Ok(vec![whole("malformed")]);
        }
    }
    Ok(items)
}

/// What the items of one entry have in common.
#[derive(Default)]
struct Entry {
    object: Cow<'static, str>,
    id: Option<String>,
    time: Option<i64>,
}

impl Entry {
    fn of(object: Cow<'static, str>) -> Self {
        Self { object, ..Self::default() }
    }

    fn item(&self, channel: Lane, kind: impl Into<Cow<'static, str>>, raw: &str) -> Item {
        self.item_of((self.id.clone().unwrap_or_default(), String::new()), channel, kind, raw)
    }

    fn item_of(
        &self,
        (page_id, sender): (String, String),
        channel: Lane,
        kind: impl Into<Cow<'static, str>>,
        raw: &str,
    ) -> Item {
        let (object, entry_time) = (self.object.clone(), self.time);
        Item { object, channel, page_id, sender, kind: kind.into(), entry_time, raw: raw.into() }
    }
}

fn split_entry(object: Cow<'static, str>, raw: &str, items: &mut Vec<Item>) {
    let Some(fields) = members(raw) else {
        items.push(Entry::of(object).item(Lane::Entry, "malformed", raw));
        return;
    };
    let entry = Entry {
        id: member(&fields, "id").and_then(word),
        time: member(&fields, "time").and_then(word).and_then(|time| whole_number(&time)),
        ..Entry::of(object)
    };
    let before = items.len();
    for (lane, name) in [(Lane::Messaging, "messaging"), (Lane::Standby, "standby"), (Lane::Changes, "changes")] {
        let Some(list) = member(&fields, name) else { continue };
        // Meta never sends a bare object here, so nobody may act on it; it is kept as the entry's.
        let Some(list) = elements(list) else {
            items.push(entry.item(Lane::Entry, "malformed", list));
            continue;
        };
        items.extend(list.into_iter().map(|raw| match lane {
            Lane::Changes => change(&entry, raw),
            _ => event(&entry, lane, raw),
        }));
    }
    if items.len() == before {
        let is_known = |key: &str| matches!(key, "id" | "time" | "uid" | "messaging" | "standby" | "changes");
        let kind = if fields.iter().all(|(key, _)| is_known(key)) { "empty" } else { "unknown" };
        items.push(entry.item(Lane::Entry, kind, raw));
    }
}

/// An element of `messaging` or `standby`.
fn event(entry: &Entry, lane: Lane, raw: &str) -> Item {
    let in_lane = |kind: &'static str| match lane {
        Lane::Standby => Cow::Owned(format!("standby.{kind}")),
        _ => Cow::Borrowed(kind),
    };
    let Some(fields) = members(raw) else { return entry.item(lane, in_lane("malformed"), raw) };
    let kind = kind_of(&fields);
    let parties = parties(entry.id.as_deref(), kind == "echo", &fields);
    entry.item_of(parties, lane, in_lane(kind), raw)
}

/// An element of `changes`. Its people are not PSIDs, except those of labels.
fn change(entry: &Entry, raw: &str) -> Item {
    let Some(fields) = members(raw) else { return entry.item(Lane::Changes, "malformed", raw) };
    let field = member(&fields, "field").and_then(word).unwrap_or_default();
    let is_plain = (1..=40).contains(&field.len()) && field.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    let kind = if is_plain { Cow::Owned(format!("change.{field}")) } else { Cow::Borrowed("change.unknown") };
    let person = (field == "inbox_labels").then(|| id_in(member(&members(member(&fields, "value")?)?, "user")?, "id"));
    Item { sender: person.flatten().unwrap_or_default(), ..entry.item(Lane::Changes, kind, raw) }
}

/// Keys that tell what an event is, the telling ones first: a postback may carry a referral beside it.
const KINDS: &[(&str, &str)] = &[
    ("message", "message"),
    ("message_edit", "message_edit"),
    ("postback", "postback"),
    ("reaction", "reaction"),
    ("delivery", "delivery"),
    ("read", "read"),
    ("optin", "optin"),
    ("referral", "referral"),
    ("account_linking", "account_linking"),
    ("pass_thread_control", "pass_thread_control"),
    ("take_thread_control", "take_thread_control"),
    ("request_thread_control", "request_thread_control"),
    ("app_roles", "app_roles"),
    ("policy_enforcement", "policy_enforcement"),
    ("policy-enforcement", "policy_enforcement"),
    ("messaging_feedback", "messaging_feedback"),
    ("messaging_customer_information", "messaging_customer_information"),
    ("response_feedback", "response_feedback"),
    ("order", "send_cart"),
    ("form", "in_thread_lead_form_submit"),
    ("template", "coupon_reveal"),
    ("game_play", "game_play"),
    ("message_request", "message_request"),
    ("payment", "payment"),
    ("pre_checkout", "pre_checkout"),
    ("checkout_update", "checkout_update"),
];

/// A kind as a metric's label: the `change.…` and `standby.…` of whatever senders think of would be labels without end.
#[must_use]
pub fn kind_label(kind: &str) -> &'static str {
    const OTHERS: [&str; 7] = ["echo", "message_deleted", "admin_text", "empty", "malformed", "unknown", "unreadable"];
    match kind.split_once('.') {
        Some(("standby", _)) => "standby",
        Some(("change", _)) => "change",
        _ => {
            let mut known = KINDS.iter().map(|it| it.1).chain(OTHERS);
            known.find(|it| *it == kind).unwrap_or("other")
        }
    }
}

fn kind_of(fields: &[(Cow<'_, str>, &str)]) -> &'static str {
    let found = KINDS.iter().find_map(|(key, kind)| Some((*kind, member(fields, key)?)));
    match found {
        Some(("message", message)) => kind_of_message(message),
        Some((kind, _)) => kind,
        None => "unknown",
    }
}

fn kind_of_message(message: &str) -> &'static str {
    let Some(fields) = members(message) else { return "malformed" };
    let is_set = |name| member(&fields, name).is_some_and(is_true);
    if is_set("is_echo") {
        "echo"
    } else if is_set("is_deleted") {
        "message_deleted"
    } else if member(&fields, "admin_text").is_some() && member(&fields, "mid").is_none() {
        "admin_text"
    } else {
        "message"
    }
}

/// The page and the person of an event.
///
/// Whichever of sender and recipient is the entry's page is the page: some events come with the two swapped. If neither
/// is, the entry says nothing about this event and it must not be filed under the entry's page.
fn parties(entry_id: Option<&str>, is_echo: bool, fields: &[(Cow<'_, str>, &str)]) -> (String, String) {
    let sender = member(fields, "sender");
    let recipient = member(fields, "recipient");
    let sender_id = sender.and_then(|it| id_in(it, "id"));
    let recipient_id = recipient.and_then(|it| id_in(it, "id"));

    let page_is_sender = match entry_id {
        Some(page) if sender_id.as_deref() == Some(page) && recipient_id.as_deref() == Some(page) => is_echo,
        Some(page) if sender_id.as_deref() == Some(page) => true,
        Some(page) if recipient_id.as_deref() == Some(page) => false,
        _ => is_echo,
    };
    let (page, person_id, person) = match page_is_sender {
        true => (sender_id, recipient_id, recipient),
        false => (recipient_id, sender_id, sender),
    };
    let person = person_id
        .or_else(|| id_in(person?, "user_ref"))
        .or_else(|| id_in(member(fields, "optin")?, "user_ref"))
        .unwrap_or_default();
    (page.or_else(|| entry_id.map(str::to_owned)).unwrap_or_default(), person)
}

fn id_in(object: &str, name: &str) -> Option<String> {
    member(&members(object)?, name).and_then(word)
}

/// A time as Meta writes it: `1712345678901`, `"1712345678901"` and `1712345678901.0` have all been seen.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the fraction of a millisecond is nothing; far ends saturate"
        )]
        number.is_finite().then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Lane, page, person and kind of each item, as one line each.
    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let items = split(body.as_bytes()).expect("a JSON object");
        let line = |it: &Item| format!("{} {}/{} {}", it.channel.as_str(), it.page_id, it.sender, it.kind);
        assert_eq!(items.iter().map(line).collect::<Vec<_>>(), expected, "{body}");
    }

    #[track_caller]
    fn check_event(event: &str, expected: &str) {
        check(&format!(r#"{{"object":"page","entry":[{{"id":"1","time":5,"messaging":[{event}]}}]}}"#), &[expected]);
    }

    #[test]
    fn page_and_person_are_found_whichever_way_they_stand() {
        check_event(r#"{"sender":{"id":"7"},"recipient":{"id":"1"},"message":{}}"#, "messaging 1/7 message");
        check_event(r#"{"sender":{"id":7},"recipient":{"id":1},"message":{}}"#, "messaging 1/7 message");
        check_event(r#"{"sender":{"id":"\u0037"},"recipient":{"id":"\u0031"},"message":{}}"#, "messaging 1/7 message");
        check_event(r#"{"sender":{"id":"1"},"recipient":{"id":"7"},"message":{"is_echo":true}}"#, "messaging 1/7 echo");
        check_event(r#"{"sender":{"id":"7"},"recipient":{"id":"1"},"message":{"is_echo":true}}"#, "messaging 1/7 echo");
        check_event(r#"{"sender":{"id":"1"},"recipient":{"id":"7"},"read":{}}"#, "messaging 1/7 read");
        check_event(r#"{"sender":{"id":"1"},"recipient":{"id":"1"},"message":{}}"#, "messaging 1/1 message");
        check_event(r#"{"sender":{"id":"7"},"recipient":{"id":"2"},"message":{}}"#, "messaging 2/7 message");
        check_event(
            r#"{"sender":{"id":"2"},"recipient":{"id":"7"},"message":{"is_echo":"true"}}"#,
            "messaging 2/7 echo",
        );
        check_event(
            r#"{"sender":{"id":"7","user_ref":"r"},"recipient":{"id":"1"},"referral":{}}"#,
            "messaging 1/7 referral",
        );
        check_event(r#"{"sender":{"user_ref":9},"recipient":{"id":"1"},"postback":{}}"#, "messaging 1/9 postback");
        check_event(r#"{"sender":null,"recipient":{"id":"1"},"optin":{"user_ref":"r"}}"#, "messaging 1/r optin");
        check_event(r#"{"recipient":{"id":"1"},"optin":{"user_ref":"r"}}"#, "messaging 1/r optin");
        check_event(r#"{"recipient":{"id":"2"},"policy-enforcement":{}}"#, "messaging 2/ policy_enforcement");
        check_event(r#"{"sender":{"id":"7"},"message":{}}"#, "messaging 1/7 message");
        check_event("{}", "messaging 1/ unknown");
        check(
            r#"{"entry":[{"messaging":[{"sender":{"id":"7"},"recipient":{"id":"1"},"messaging_feedback":{}}]}]}"#,
            &["messaging 1/7 messaging_feedback"],
        );
    }

    #[test]
    fn kinds_come_from_the_telling_key() {
        check_event(r#"{"message":{"mid":"m","is_deleted":true}}"#, "messaging 1/ message_deleted");
        check_event(r#"{"message":{"admin_text":"x"}}"#, "messaging 1/ admin_text");
        check_event(r#"{"message":"text"}"#, "messaging 1/ malformed");
        check_event(r#"{"message":null,"reaction":{}}"#, "messaging 1/ reaction");
        check_event(r#"{"referral":{},"postback":{}}"#, "messaging 1/ postback");
        check_event(r#"{"prior_message":{},"message":{}}"#, "messaging 1/ message");
        check_event(r#"{"message_request":"accept"}"#, "messaging 1/ message_request");
        check_event("null", "messaging 1/ malformed");
        check_event("[[]]", "messaging 1/ malformed");
        let change = |change: &str| format!(r#"{{"entry":[{{"id":"1","changes":[{change}]}}]}}"#);
        check(&change(r#"{"field":"feed","value":{"from":{"id":"6"}}}"#), &["changes 1/ change.feed"]);
        check(&change(r#"{"field":"inbox_labels","value":{"user":{"id":7}}}"#), &["changes 1/7 change.inbox_labels"]);
        check(&change(r#"{"field":"drop table"}"#), &["changes 1/ change.unknown"]);
        check(&change(r#"{}"#), &["changes 1/ change.unknown"]);
    }

    #[test]
    fn labels_are_words_of_ours() {
        for (kind, label) in [
            ("message", "message"),
            ("echo", "echo"),
            ("standby.message", "standby"),
            ("change.feed", "change"),
            ("change.whatever_they_say", "change"),
            ("unreadable", "unreadable"),
            ("whatever", "other"),
        ] {
            assert_eq!(kind_label(kind), label);
        }
        for (_, kind) in KINDS {
            assert_eq!(kind_label(kind), *kind);
        }
    }

    #[test]
    fn every_lane_and_entry_is_walked_and_none_spoils_another() {
        check(
            r#"{"entry":[7,{"id":"1","changes":[{"field":"feed"}],"standby":[{"read":{}}],"messaging":[0,{"read":{}}]},
                {"id":2,"messaging":{"message":{}}},{"id":"3"},{"id":"4","messaging":[]},{"id":"5","other":[{}]}],"object":"page"}"#,
            &[
                "entry / malformed",
                "messaging 1/ malformed",
                "messaging 1/ read",
                "standby 1/ standby.read",
                "changes 1/ change.feed",
                "entry 2/ malformed",
                "entry 3/ empty",
                "entry 4/ empty",
                "entry 5/ unknown",
            ],
        );
        check("{}", &["entry / empty"]);
        check(r#"{"entry":[]}"#, &["entry / empty"]);
        check(r#"{"entry":null}"#, &["entry / empty"]);
        check(r#"{"entry":{"id":"1"}}"#, &["entry / malformed"]);
        check("\u{feff}{\"entry\":[]}", &["entry / empty"]);
        check(r#"{"entry":[{"id":"1"}],"\ud800":1}"#, &["entry 1/ empty"]);
    }

    #[test]
    fn an_item_keeps_its_text_and_its_entrys_time() {
        let body = r#"{"entry":[{"id":"1","time":"1763630102500","messaging":[ {"message" : {"text":"\u00e4\/\u0000\ud83d"}} ]}],"object":"page"}"#;
        let items = split(body.as_bytes()).expect("JSON");
        assert_eq!(&*items[0].raw, r#"{"message" : {"text":"\u00e4\/\ufffd\ufffd"}}"#);
        assert_eq!((items[0].entry_time, &*items[0].object), (Some(1_763_630_102_500), "page"));
        let items = split(b"{\"entry\":[{\"id\":\"\xff\",\"time\":1e3}]}").expect("JSON but for one letter");
        assert_eq!((items[0].entry_time, items[0].page_id.as_str()), (Some(1000), "\u{fffd}"));
    }

    #[test]
    fn what_is_no_object_is_unreadable() {
        for body in ["", "null", "[]", "7", "\"page\"", "{", "{}}", "<html>", "object=page"] {
            assert_eq!(split(body.as_bytes()), Err(Unreadable), "{body}");
        }
    }

    #[test]
    fn deep_nesting_and_a_full_batch_are_no_trouble() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        check_event(&format!(r#"{{"message":{{"mid":"m","x":{deep}}}}}"#), "messaging 1/ message");
        let event =
            json!({"sender": {"id": "7"}, "recipient": {"id": "1"}, "message": {"mid": "m", "text": "ä".repeat(5000)}});
        let entry = json!({"id": "1", "time": 5, "messaging": [event]});
        let body = json!({"object": "page", "entry": vec![entry; 1000]}).to_string();
        assert_eq!(split(body.as_bytes()).expect("JSON").len(), 1000);
    }
}
