//! What contacts and Meta tell beside messages: forms, opt-ins, links of accounts, referrals, who has the thread, policy.
//!
//! What the contact handed in (a lead, an address, a cart, a form) is something they say. Opt-ins, ratings and the like are
//! notices for whoever has the room, and facts about the contact.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::normalize::{Fields, is_from_person, made_id};
use crate::channels::{
    Content, Fact, ThreadChange, What,
    meta::{
        envelope::whole_number,
        json::{member, members, word},
    },
};

/// Longest fact kept, in bytes of JSON; what is longer is in the ledger only.
const MAX_FACT: usize = 16 * 1024;

type Told = (What, Option<Fact>);

/// What an event without message, postback or receipt tells; nothing if nobody has a use for it.
pub(super) fn told(item: &Fields<'_>, page_id: &str) -> Option<Told> {
    let value = |name| member(item, name).and_then(|raw| serde_json::from_str::<Value>(raw).ok());
    if let Some(edit) = value("message_edit") {
        return Some((edited(&edit)?, None));
    }
    if let Some(reaction) = value("reaction") {
        return Some((reacted(&reaction, !is_from_person(item, page_id))?, None));
    }
    if let Some(change) = thread_change(item) {
        return Some((change, None));
    }
    if let Some(roles) = value("app_roles") {
        return Some((What::Roles { roles: roles_of(&roles) }, None));
    }
    if let Some(policy) = value("policy_enforcement").or_else(|| value("policy-enforcement")) {
        let action = text(&policy["action"])?;
        return Some((What::Policy { action, reason: text(&policy["reason"]) }, None));
    }
    by_contact(item, page_id)
}

fn by_contact(item: &Fields<'_>, page_id: &str) -> Option<Told> {
    let about_page = member(item, "sender").is_some() && !is_from_person(item, page_id);
    if about_page {
        return None;
    }
    let value = |name| member(item, name).and_then(|raw| serde_json::from_str::<Value>(raw).ok());
    let id = |name: &str| made_id("told", item, &member(item, name).and_then(members).unwrap_or_default());
    let notice = |name: &str, text: String| What::Notice { external_id: id(name), text, about: None };
    let says = |name: &str, text: String, referral: Option<Value>| What::Inbound {
        external_id: id(name),
        content: Content::Text { text },
        reply_to: None,
        referral,
    };
    if let Some(optin) = value("optin") {
        let (name, text) = opted_in(&optin);
        return Some((notice("optin", text), fact(name, hidden(optin))));
    }
    if let Some(referral) = value("referral").filter(Value::is_object) {
        let answers = value("lead").map(|lead| pairs(&lead["data"], "question", "answer")).unwrap_or_default();
        if answers.is_empty() {
            // A click on an ad opens nothing before the contact writes; a link into the thread does.
            let opens_window = referral["source"] != "ADS";
            return Some((What::Referred { referral, opens_window }, None));
        }
        let is_whole = referral["type"] != "LEAD_INCOMPLETE";
        let title = if is_whole { "Lead form" } else { "Lead form, not finished" };
        let kept = json!({ "complete": is_whole, "answers": map(&answers), "ad_id": referral["ad_id"] });
        return Some((says("lead", lines(title, &answers), Some(referral)), fact("lead", kept)));
    }
    if let Some(linking) = value("account_linking") {
        let status = text(&linking["status"])?;
        return Some((
            notice("account_linking", format!("Account {status}")),
            fact("account_linking", hidden(linking)),
        ));
    }
    if let Some(feedback) = value("messaging_feedback") {
        let answers = ratings(&feedback);
        let said = notice("messaging_feedback", lines("Feedback", &answers));
        return Some((said, fact("feedback", json!({ "answers": map(&answers) }))));
    }
    if let Some(form) = value("messaging_customer_information") {
        let answers: Vec<_> = list(&form["screens"]).flat_map(|it| pairs(&it["responses"], "key", "value")).collect();
        let shown: Vec<_> = answers.iter().map(|(key, value)| (readable(key), value.clone())).collect();
        let said = says("messaging_customer_information", lines("Customer information", &shown), None);
        return Some((said, fact("customer_information", map(&answers))));
    }
    if let Some(feedback) = value("response_feedback") {
        let text = text(&feedback["feedback"])?;
        let about = word_of(&feedback["mid"]);
        return Some((What::Notice { external_id: id("response_feedback"), text, about }, None));
    }
    if let Some(order) = value("order").filter(Value::is_object) {
        return Some((says("order", cart(&order), None), None));
    }
    if let Some(form) = value("form").filter(Value::is_object) {
        let form_id = word_of(&form["id"]).unwrap_or_default();
        let said = says("form", format!("Form filled in: {form_id}"), None);
        return Some((said, fact("form", json!({ "id": form_id }))));
    }
    let coupon = value("template").filter(|it| it["type"] == "coupon")?;
    let code = text(&coupon["coupon_code"]).unwrap_or_default();
    Some((notice("template", format!("Coupon revealed: {code}")), fact("coupon", coupon)))
}

fn edited(edit: &Value) -> Option<What> {
    let number = word_of(&edit["num_edit"]).and_then(|it| whole_number(&it));
    let text = edit["text"].as_str().map(str::to_owned);
    Some(What::Edited { external_id: word_of(&edit["mid"])?, text, number })
}

fn reacted(reaction: &Value, by_page: bool) -> Option<What> {
    let word = text(&reaction["reaction"]);
    let emoji = text(&reaction["emoji"]).or_else(|| word.map(|word| emoji_of(&word).map_or(word, str::to_owned)));
    let emoji = emoji.filter(|_| reaction["action"] != "unreact");
    if emoji.is_none() && reaction["action"] != "unreact" {
        return None;
    }
    Some(What::Reacted { external_id: word_of(&reaction["mid"])?, emoji, by_page })
}

/// Meta's words for reactions, for events without the emoji.
fn emoji_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "smile" => "😀",
        "laugh" => "😂",
        "angry" => "😠",
        "sad" => "😢",
        "wow" => "😮",
        "love" => "❤️",
        "like" => "👍",
        "dislike" => "👎",
        _ => return None,
    })
}

fn thread_change(item: &Fields<'_>) -> Option<What> {
    let object = |name| member(item, name).and_then(members);
    let (change, body) = object("pass_thread_control")
        .map(|body| (ThreadChange::Passed, body))
        .or_else(|| Some((ThreadChange::Taken, object("take_thread_control")?)))
        .or_else(|| Some((ThreadChange::Requested, object("request_thread_control")?)))?;
    let app = |name| member(&body, name).and_then(word).filter(|it| !it.is_empty());
    let app_id = app(if change == ThreadChange::Requested { "requested_owner_app_id" } else { "new_owner_app_id" });
    let external_id = made_id("told", item, &body);
    Some(What::Thread { external_id, change, app_id, previous_app_id: app("previous_owner_app_id") })
}

fn roles_of(roles: &Value) -> BTreeMap<String, Vec<String>> {
    let of = |it: &Value| list(it).filter_map(text).collect();
    roles.as_object().into_iter().flatten().map(|(app_id, roles)| (app_id.clone(), of(roles))).collect()
}

/// The fact's name, and the notice.
fn opted_in(optin: &Value) -> (&'static str, String) {
    let title = text(&optin["title"]).or_else(|| text(&optin["notification_messages_topic"]));
    let about = title.map(|it| format!(": {it}")).unwrap_or_default();
    match optin["type"].as_str() {
        Some("notification_messages") => {
            let status = text(&optin["notification_messages_status"]).unwrap_or_default().to_uppercase();
            let did = match status.split(' ').next() {
                Some("STOP") => "Stopped messages",
                Some("RESUME") => "Resumed messages",
                _ => "Agreed to messages",
            };
            ("notification_messages", format!("{did}{about}"))
        }
        Some("one_time_notif_req") => ("one_time_notification", format!("Agreed to one message{about}")),
        _ => {
            let from = text(&optin["ref"]).map(|it| format!(": {it}")).unwrap_or_default();
            ("optin", format!("Opted in{from}"))
        }
    }
}

/// Tokens and codes stay in the ledger; the fact says that there are some.
fn hidden(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let is_secret = |key: &str| key == "authorization_code" || key.ends_with("_token");
    let hidden = fields.into_iter().map(|(key, value)| match is_secret(&key) {
        true => (format!("has_{key}"), Value::Bool(true)),
        false => (key, value),
    });
    Value::Object(hidden.collect())
}

fn ratings(feedback: &Value) -> Vec<(String, String)> {
    let questions = list(&feedback["feedback_screens"]).filter_map(|it| it["questions"].as_object()).flatten();
    let mut answers = Vec::new();
    for (id, answer) in questions {
        let kind = text(&answer["type"]).unwrap_or_else(|| id.clone());
        answers.extend(word_of(&answer["payload"]).map(|it| (kind.clone(), it)));
        answers.extend(word_of(&answer["follow_up"]["payload"]).map(|it| (format!("{kind}, follow-up"), it)));
    }
    answers
}

fn cart(order: &Value) -> String {
    let products = list(&order["products"]).map(|it| {
        let name = text(&it["name"]).or_else(|| word_of(&it["retailer_id"])).unwrap_or_else(|| "?".to_owned());
        let quantity = word_of(&it["quantity"]).unwrap_or_else(|| "1".to_owned());
        let price = word_of(&it["unit_price"]).map(|it| format!(", {it} ")).unwrap_or_default();
        let currency = if price.is_empty() { String::new() } else { text(&it["currency"]).unwrap_or_default() };
        format!("{quantity} × {name}{price}{currency}").trim_end().to_owned()
    });
    let note = text(&order["note"]).map(|it| format!("Note: {it}"));
    ["Order".to_owned()].into_iter().chain(products).chain(note).collect::<Vec<_>>().join("\n")
}

fn fact(name: &'static str, value: Value) -> Option<Fact> {
    let is_short = value.to_string().len() <= MAX_FACT;
    Some(Fact { name, value: if is_short { value } else { json!({ "too_long": true }) } })
}

fn lines(title: &str, answers: &[(String, String)]) -> String {
    let answers = answers.iter().map(|(name, value)| format!("{}: {value}", name.trim_end_matches([':', ' '])));
    [title.to_owned()].into_iter().chain(answers).collect::<Vec<_>>().join("\n")
}

fn pairs(all: &Value, key: &str, value: &str) -> Vec<(String, String)> {
    list(all).filter_map(|it| Some((text(&it[key])?, word_of(&it[value]).unwrap_or_default()))).collect()
}

fn map(answers: &[(String, String)]) -> Value {
    Value::Object(answers.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>())
}

/// `address_line_1` as `Address line 1`.
fn readable(key: &str) -> String {
    let words = key.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|it| !it.is_empty()).map(str::to_owned)
}

/// A text that is not empty, or a number's or flag's word.
fn word_of(value: &Value) -> Option<String> {
    match value {
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => text(value),
    }
}
