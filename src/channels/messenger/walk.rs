//! Walks webhook bodies through the whole way in, `split` and then `normalize`: our own examples in `tests/data`, a
//! larger recorded collection where one lies beside the crate, and whatever proptest thinks of.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::normalize::normalize;
use crate::{
    channels::{
        Content, Event, What,
        meta::envelope::{Item, Lane, split},
    },
    clock::Moment,
};

/// Files of the recorded collection; none where it is not there.
pub(crate) fn shared(folder: &str) -> BTreeMap<String, Value> {
    json_files(shared_root().join(folder))
}

/// One file of the recorded collection.
pub(crate) fn shared_file(name: &str) -> Option<Value> {
    serde_json::from_slice(&fs::read(shared_root().join(name)).ok()?).ok()
}

fn shared_root() -> PathBuf {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    env::var_os("CHATGATE_SHARED").map_or_else(beside, PathBuf::from)
}

fn json_files(folder: PathBuf) -> BTreeMap<String, Value> {
    let read = |(name, text): (String, String)| {
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, value)
    };
    texts(folder).into_iter().map(read).collect()
}

fn texts(folder: PathBuf) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    files
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a readable file"))
        })
        .collect()
}

fn received_at() -> Moment {
    "2026-11-20T09:15:02Z".parse().expect("a moment")
}

fn read(item: &Item) -> Event {
    normalize(&item.raw, item.channel, &item.page_id, item.entry_time, received_at()).expect("what was split is JSON")
}

/// What the collection's notes would say about an event.
fn notes_of(item: &Item, event: &Event) -> Value {
    let mut notes = json!({"page_id": item.page_id, "user_id": item.sender, "kind": item.kind});
    let content = match &event.what {
        What::Inbound { external_id, content, reply_to, referral } => {
            notes["what"] = json!("inbound");
            notes["mid"] = json!(external_id);
            notes["reply_to_mid"] = json!(reply_to);
            notes["referral"] = json!(referral);
            Some(content)
        }
        What::Echo { external_id, app_id, metadata, content } => {
            notes["what"] = json!("echo");
            notes["mid"] = json!(external_id);
            notes["app_id"] = json!(app_id);
            notes["metadata"] = json!(metadata);
            Some(content)
        }
        What::Delivered { external_ids, watermark } | What::Read { external_ids, watermark } => {
            notes["what"] = json!(if matches!(event.what, What::Read { .. }) { "read" } else { "delivered" });
            notes["mids"] = json!(external_ids);
            notes["watermark"] = json!(watermark.map(|at| at.timestamp_millis()));
            None
        }
        What::Edited { external_id, text, .. } => {
            notes["what"] = json!("edited");
            notes["mid"] = json!(external_id);
            notes["text"] = json!(text);
            None
        }
        What::Unsent { external_id } => {
            notes["what"] = json!("unsent");
            notes["mid"] = json!(external_id);
            None
        }
        What::Reacted { external_id, emoji, .. } => {
            notes["what"] = json!("reacted");
            notes["mid"] = json!(external_id);
            notes["emoji"] = json!(emoji);
            None
        }
        What::Referred { referral, .. } => {
            notes["what"] = json!("referred");
            notes["referral"] = json!(referral);
            None
        }
        What::Notice { .. } | What::Thread { .. } | What::Policy { .. } | What::Roles { .. } | What::Other => {
            notes["what"] = json!(match event.what {
                What::Notice { .. } => "notice",
                What::Thread { .. } => "thread",
                What::Policy { .. } => "policy",
                What::Roles { .. } => "roles",
                _ => "other",
            });
            None
        }
    };
    match content {
        Some(Content::Text { text }) => notes["text"] = json!(text),
        Some(Content::Attachments { text, attachments }) => {
            notes["text"] = json!(text);
            notes["attachments"] = attachments.iter().map(|it| json!(it.kind)).collect();
        }
        Some(Content::Choice { text, payload, via }) => {
            notes["text"] = json!(text);
            notes[if json!(via) == "postback" { "postback_payload" } else { "quick_reply_payload" }] = json!(payload);
        }
        Some(Content::Unsupported { what }) => notes["unsupported"] = json!(what),
        _ => {}
    }
    notes
}

#[test]
fn our_own_examples_are_read_as_they_say() {
    let files = texts(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")));
    assert!(!files.is_empty(), "tests/data holds examples");
    for (name, body) in files {
        let expected_kind = name.trim_end_matches(".json").split('-').next().unwrap_or_default();
        let items = split(body.as_bytes()).expect("an object");
        assert_eq!(items.iter().map(|it| &*it.kind).collect::<Vec<_>>(), [expected_kind], "{name}");
        let event = read(&items[0]);
        let what = notes_of(&items[0], &event)["what"].clone();
        let expected = match expected_kind {
            "message" if name.contains("itself") => "other",
            "message" | "postback" => "inbound",
            "referral" if name.contains("lead") => "inbound",
            "messaging_customer_information" | "send_cart" | "in_thread_lead_form_submit" => "inbound",
            kind => what_is_told(kind),
        };
        assert_eq!(what, expected, "{name}");
    }
}

/// What events of a kind become that are no messages.
fn what_is_told(kind: &str) -> &str {
    match kind {
        "echo" | "message_echo" => "echo",
        "delivery" => "delivered",
        "read" => "read",
        "message_edit" => "edited",
        "message_deleted" => "unsent",
        "reaction" => "reacted",
        "referral" => "referred",
        "optin" | "account_linking" | "messaging_feedback" | "response_feedback" | "coupon_reveal" => "notice",
        "pass_thread_control" | "take_thread_control" | "request_thread_control" => "thread",
        "policy_enforcement" => "policy",
        "app_roles" => "roles",
        _ => "other",
    }
}

#[test]
fn recorded_bodies_are_read_as_their_notes_say() {
    let (mut bodies, mut events) = (0, 0);
    for (name, case) in shared("payloads") {
        let body = case["raw_body"].as_str().map_or_else(|| case["payload"].to_string(), str::to_owned);
        let items = split(body.as_bytes()).unwrap_or_default();
        let read: Vec<Value> = items.iter().map(|item| notes_of(item, &read(item))).collect();
        let expected = case["expect"].as_array().cloned().unwrap_or_default();
        let told_apart = items.iter().filter(|item| item.channel != Lane::Entry).count();
        let by_lane = expected.iter().filter(|it| it["channel"].is_string() && it["event"] != "malformed").count();
        // WhatsApp's items are not taken apart yet: several of its events may stand in one change.
        if !name.contains("whatsapp") && items.iter().all(|item| item.object != "permissions") {
            assert_eq!(told_apart, by_lane, "{name}: {items:?}");
        }
        for (expected, read) in expected.iter().zip(&read) {
            compare(&name, expected, read);
            events += 1;
        }
        bodies += 1;
    }
    println!("{bodies} recorded bodies read, {events} events compared");
}

#[track_caller]
fn compare(name: &str, expected: &Value, read: &Value) {
    let is_ours = matches!(expected["channel"].as_str(), Some("messaging"));
    if !is_ours {
        assert_eq!(read["what"], "other", "{name}");
    }
    let what =
        match (expected["disposition"].as_str().unwrap_or_default(), expected["event"].as_str().unwrap_or_default()) {
            ("chat_message", "message" | "message_unsupported") | (_, "postback") if is_ours => "inbound",
            // The second of two deliveries, or another page's: whether it counts is decided where mids and pages are known.
            ("ignore", "message") if expected["reason"].is_string() || expected["page_mismatch"] == true => "inbound",
            ("ignore", _) => "other",
            (_, "referral") if expected["lead"].is_object() => "inbound",
            (_, "messaging_customer_information" | "send_cart" | "in_thread_lead_form_submit") => "inbound",
            (_, kind) if is_ours => what_is_told(kind),
            _ => "other",
        };
    assert_eq!(read["what"], what, "{name}: {read}");
    if expected["channel"] == "messaging" || expected["channel"] == "standby" {
        for key in ["page_id", "user_id"] {
            if let Some(id) = expected[key].as_str() {
                assert_eq!(read[key], id, "{name} {key}");
            }
        }
        if let Some(user_ref) = expected["user_ref"].as_str().filter(|_| expected["user_id"].is_null()) {
            assert_eq!(read["user_id"], user_ref, "{name}");
        }
    }
    if what == "other" {
        return;
    }
    let keys = [
        "text",
        "quick_reply_payload",
        "postback_payload",
        "reply_to_mid",
        "referral",
        "app_id",
        "metadata",
        "watermark",
        "mids",
        "emoji",
    ];
    for key in keys {
        let wanted = &expected[key];
        let is_open = wanted.is_null() || (key == "quick_reply_payload" && wanted == "");
        assert!(is_open || *wanted == read[key], "{name} {key}: {wanted} but {}", read[key]);
    }
    let mids = || read["mids"].as_array().is_some_and(|mids| mids.contains(&expected["mid"]));
    assert!(expected["mid"].is_null() || expected["mid"] == read["mid"] || mids(), "{name} mid");
    if let Some(attachments) = expected["attachments"].as_array() {
        let kinds = attachments.iter().map(|it| kind_of(it["type"].as_str().unwrap_or_default()));
        let mut kinds: Vec<&str> = kinds.collect();
        // Those of the collection have a picture each.
        kinds
            .extend(attachments.iter().flat_map(|it| it["products"].as_array().into_iter().flatten()).map(|_| "image"));
        if name.contains("sticker-transition") {
            kinds.retain(|kind| *kind != "image");
        }
        assert_eq!(read["attachments"], json!(kinds), "{name}");
    }
}

fn kind_of(theirs: &str) -> &str {
    match theirs {
        "image" | "video" | "audio" | "file" | "sticker" | "location" => theirs,
        "fallback" | "post" | "ig_post" | "reel" | "ig_reel" | "share" => "link",
        _ => "unknown",
    }
}

/// Any JSON, with Meta's own keys and times among its words.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "id",
        "sender",
        "recipient",
        "timestamp",
        "message",
        "mid",
        "text",
        "attachments",
        "payload",
        "url",
        "type",
        "title",
        "coordinates",
        "lat",
        "long",
        "quick_reply",
        "postback",
        "delivery",
        "mids",
        "watermark",
        "read",
        "is_echo",
        "image",
        "sticker",
        "fallback",
        "reply_to",
        "referral",
        "user_ref",
        "optin",
        "field",
        "value",
        "template",
        "elements",
        "message_edit",
        "num_edit",
        "reaction",
        "emoji",
        "action",
        "lead",
        "data",
        "question",
        "answer",
        "account_linking",
        "status",
        "messaging_feedback",
        "feedback_screens",
        "questions",
        "messaging_customer_information",
        "screens",
        "responses",
        "order",
        "products",
        "form",
        "pass_thread_control",
        "app_roles",
        "policy_enforcement",
        "prior_message",
        "identifier",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let key = prop_oneof![4 => words.clone().prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|list| Value::Object(list.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for item in split(&bytes).unwrap_or_default() {
            read(&item);
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = normalize(&text, Lane::Messaging, "1", None, received_at());
    }

    #[test]
    fn no_text_in_strings_makes_it_panic(text in r#"(\\u[dD][89a-fA-F][0-9]{2}|\\u0000|\\\\|\\"|[a-zä😀]){0,20}"#) {
        let item = format!(r#"{{"sender":{{"id":"7{text}"}},"message":{{"mid":"m","{text}":1,"text":"x{text}"}}}}"#);
        let items = split(format!(r#"{{"entry":[{{"id":"1","messaging":[{item}]}}]}}"#).as_bytes()).expect("JSON");
        prop_assert!(!items[0].sender.contains('\0'));
        prop_assert_eq!(&notes_of(&items[0], &read(&items[0]))["mid"], "m");
    }

    #[test]
    fn no_json_makes_it_panic_and_no_item_is_lost(event in any_json(), entry in any_json(), other in any_json()) {
        let good = json!({"sender": {"id": "7"}, "recipient": {"id": "1"}, "message": {"mid": "m_good", "text": "hi"}});
        let body = json!({"object": other, "entry": [entry, {"id": "1", "messaging": [event, good], "standby": entry}]});
        let items = split(body.to_string().as_bytes()).expect("JSON");
        let read: Vec<Event> = items.iter().map(read).collect();
        let is_good = |it: &Event| matches!(&it.what, What::Inbound { external_id, .. } if external_id == "m_good");
        prop_assert!(read.iter().any(is_good));
        prop_assert!(read.iter().all(|it| it.at <= received_at() + chrono::TimeDelta::minutes(5)));
    }
}
