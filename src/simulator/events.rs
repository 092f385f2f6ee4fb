//! Events as Meta writes them: the envelope, the shapes and the escaping that the signature covers.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::world::SentMessage;

/// One event on its way to an app.
pub(super) struct Event {
    pub page_id: String,
    pub psid: Option<String>,
    /// The subscription field that both the app and the Page must have.
    pub field: String,
    pub mid: Option<String>,
    pub item: Value,
}

impl Event {
    /// The body as it goes over the wire.
    pub fn body(&self, now_ms: i64) -> Vec<u8> {
        let entry = json!({"id": self.page_id, "time": now_ms, "messaging": [self.item]});
        escape(&json!({"object": "page", "entry": [entry]}))
    }
}

/// Something the person did: `content` is `{"message": …}`, `{"postback": …}`, `{"read": …}`…
pub(super) fn by_person(
    page_id: &str,
    psid: &str,
    field: &str,
    at_ms: i64,
    mid: Option<&str>,
    content: Value,
) -> Event {
    let mut item = json!({"sender": {"id": psid}, "recipient": {"id": page_id}, "timestamp": at_ms});
    merge(&mut item, content);
    event(page_id, psid, field, mid, item)
}

/// What the Page's app sent, told back to it.
pub(super) fn echo(page_id: &str, psid: &str, app_id: &str, sent: &SentMessage) -> Event {
    let app_id = app_id.parse::<u64>().map_or_else(|_| Value::from(app_id), Value::from);
    let mut message = json!({"is_echo": true, "app_id": app_id});
    if let Some(metadata) = &sent.metadata {
        message["metadata"] = metadata.as_str().into();
    }
    message["mid"] = sent.mid.as_str().into();
    if let Some(text) = &sent.text {
        message["text"] = text.as_str().into();
    }
    if let Some(attachment) = &sent.attachment {
        message["attachments"] = json!([attachment]);
    }
    let item =
        json!({"sender": {"id": page_id}, "recipient": {"id": psid}, "timestamp": sent.at_ms, "message": message});
    event(page_id, psid, "message_echoes", Some(&sent.mid), item)
}

/// The person's device has the message. There is no timestamp: Meta often leaves it out here.
pub(super) fn receipt(page_id: &str, psid: &str, sent: &SentMessage) -> Event {
    let item = json!({
        "sender": {"id": psid}, "recipient": {"id": page_id},
        "delivery": {"mids": [sent.mid], "watermark": sent.at_ms},
    });
    event(page_id, psid, "message_deliveries", Some(&sent.mid), item)
}

fn event(page_id: &str, psid: &str, field: &str, mid: Option<&str>, item: Value) -> Event {
    Event {
        page_id: page_id.to_owned(),
        psid: Some(psid.to_owned()),
        field: field.to_owned(),
        mid: mid.map(str::to_owned),
        item,
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// JSON in Meta's form: non-ASCII as `\u` and four digits of lower-case hex, emoji as surrogate pairs, `/` as `\/`.
fn escape(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    for char in value.to_string().chars() {
        match char {
            '/' => out.push_str("\\/"),
            char if char.is_ascii() => out.push(char),
            char => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_follows_metas_form() {
        let text = String::from_utf8(escape(&json!({"url": "https://a/b", "text": "äö 😀 \"x\""}))).unwrap();
        assert_eq!(text, r#"{"url":"https:\/\/a\/b","text":"\u00e4\u00f6 \ud83d\ude00 \"x\""}"#);
    }
}
