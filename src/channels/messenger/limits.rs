//! What the Send API would refuse, found before anything is queued.

use url::Url;

use super::text::units;
use crate::channels::{Attachment, AttachmentKind, Button, Card, Content, QuickReply};

/// Texts up to this length are taken and sent as several messages.
pub const MAX_TOTAL_TEXT_UNITS: usize = 20_000;

/// What can be sent as an attachment.
pub const SENT: &[AttachmentKind] =
    &[AttachmentKind::Image, AttachmentKind::Video, AttachmentKind::Audio, AttachmentKind::File];
/// Meta's limits for files, pictures being the smaller.
const MAX_IMAGE_BYTES: usize = 8 << 20;
const MAX_FILE_BYTES: usize = 25 << 20;

const MAX_ATTACHMENTS: usize = 10;
const MAX_QUICK_REPLIES: usize = 13;
const MAX_BUTTONS: usize = 3;
const MAX_CARDS: usize = 10;
const MAX_BUTTON_TITLE_CHARS: usize = 20;
const MAX_PAYLOAD_CHARS: usize = 1000;
const MAX_BUTTONS_TEXT_CHARS: usize = 640;
const MAX_CARD_TEXT_CHARS: usize = 80;
/// Meta names no limit for URLs; nothing longer than this has been seen to work everywhere.
const MAX_URL_CHARS: usize = 2000;
/// E.164 allows 15 digits.
const MAX_PHONE_DIGITS: usize = 15;

/// What is wrong with a reply: a JSON pointer below `/content`, and a sentence for whoever wrote it. Empty if nothing is.
#[must_use]
pub fn check(content: &Content) -> Vec<(String, String)> {
    let mut faults = Faults::default();
    match content {
        Content::Text { text } => faults.text("/text", text),
        Content::Attachments { text, attachments } => {
            if let Some(text) = text {
                faults.text("/text", text);
            }
            faults.count("/attachments", attachments.len(), MAX_ATTACHMENTS, "attachments");
            for (index, attachment) in attachments.iter().enumerate() {
                faults.attachment(&format!("/attachments/{index}"), attachment);
            }
        }
        Content::RequestField { text, .. } => {
            if let Some(text) = text {
                faults.text("/text", text);
            }
        }
        Content::QuickReplies { text, replies } => {
            faults.text("/text", text);
            faults.count("/replies", replies.len(), MAX_QUICK_REPLIES, "quick replies");
            for (index, QuickReply { title, payload }) in replies.iter().enumerate() {
                faults.short(&format!("/replies/{index}/title"), title, MAX_BUTTON_TITLE_CHARS);
                faults.short(&format!("/replies/{index}/payload"), payload, MAX_PAYLOAD_CHARS);
            }
        }
        Content::Buttons { text, buttons } => {
            faults.short("/text", text, MAX_BUTTONS_TEXT_CHARS);
            faults.count("/buttons", buttons.len(), MAX_BUTTONS, "buttons");
            faults.buttons("/buttons", buttons);
        }
        Content::Carousel { elements } => {
            faults.count("/elements", elements.len(), MAX_CARDS, "cards");
            for (index, card) in elements.iter().enumerate() {
                faults.card(&format!("/elements/{index}"), card);
            }
        }
        Content::Choice { .. } | Content::SharedField { .. } | Content::Unsupported { .. } => {
            faults.add("/kind", "only contacts send this kind; it cannot be sent to them");
        }
    }
    faults.0
}

/// The most bytes that Messenger takes of a file.
#[must_use]
pub fn most_bytes(kind: AttachmentKind) -> usize {
    if kind == AttachmentKind::Image { MAX_IMAGE_BYTES } else { MAX_FILE_BYTES }
}

#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push((pointer.to_owned(), detail.into()));
    }

    /// A text that may be cut into several messages.
    fn text(&mut self, pointer: &str, text: &str) {
        if units(text) > MAX_TOTAL_TEXT_UNITS {
            self.add(pointer, format!("at most {MAX_TOTAL_TEXT_UNITS} UTF-16 units"));
        }
        self.filled(pointer, text);
    }

    /// A text that cannot be cut.
    fn short(&mut self, pointer: &str, text: &str, max_chars: usize) {
        if text.chars().count() > max_chars {
            self.add(pointer, format!("at most {max_chars} characters"));
        }
        self.filled(pointer, text);
    }

    fn filled(&mut self, pointer: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(pointer, "must not be blank");
        } else if text.contains('\0') {
            self.add(pointer, "must not contain NUL characters");
        }
    }

    fn count(&mut self, pointer: &str, count: usize, max: usize, what: &str) {
        if !(1..=max).contains(&count) {
            self.add(pointer, format!("1 to {max} {what}"));
        }
    }

    fn url(&mut self, pointer: &str, text: &str) {
        let is_web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_web || text.contains(char::is_control) {
            self.add(pointer, "must be an http or https URL");
        } else if text.chars().count() > MAX_URL_CHARS {
            self.add(pointer, format!("at most {MAX_URL_CHARS} characters"));
        }
    }

    fn attachment(&mut self, pointer: &str, attachment: &Attachment) {
        if !SENT.contains(&attachment.kind) {
            self.add(&format!("{pointer}/type"), "must be image, video, audio or file");
        }
        if attachment.state.is_some() || attachment.reason.is_some() {
            self.add(pointer, "state and reason are the gateway's to say");
        }
        match (&attachment.id, &attachment.url) {
            (Some(_), Some(_)) => self.add(&format!("{pointer}/url"), "an upload is named by its id alone"),
            (Some(_), None) => {}
            (None, url) => self.url(&format!("{pointer}/url"), url.as_deref().unwrap_or_default()),
        }
    }

    fn buttons(&mut self, pointer: &str, buttons: &[Button]) {
        for (index, button) in buttons.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            let (Button::Url { title, .. } | Button::Postback { title, .. } | Button::Call { title, .. }) = button;
            self.short(&format!("{pointer}/title"), title, MAX_BUTTON_TITLE_CHARS);
            match button {
                Button::Url { url, .. } => self.url(&format!("{pointer}/url"), url),
                Button::Postback { payload, .. } => {
                    self.short(&format!("{pointer}/payload"), payload, MAX_PAYLOAD_CHARS);
                }
                Button::Call { phone, .. } => {
                    let digits = phone.strip_prefix('+').unwrap_or_default();
                    let is_number = (1..=MAX_PHONE_DIGITS).contains(&digits.len());
                    if !is_number || !digits.bytes().all(|it| it.is_ascii_digit()) {
                        self.add(&format!("{pointer}/phone"), "must be + and up to 15 digits");
                    }
                }
            }
        }
    }

    fn card(&mut self, pointer: &str, card: &Card) {
        self.short(&format!("{pointer}/title"), &card.title, MAX_CARD_TEXT_CHARS);
        if let Some(subtitle) = &card.subtitle {
            self.short(&format!("{pointer}/subtitle"), subtitle, MAX_CARD_TEXT_CHARS);
        }
        for (name, url) in [("image_url", &card.image_url), ("url", &card.url)] {
            if let Some(url) = url {
                self.url(&format!("{pointer}/{name}"), url);
            }
        }
        if card.buttons.len() > MAX_BUTTONS {
            self.add(&format!("{pointer}/buttons"), format!("at most {MAX_BUTTONS} buttons"));
        }
        self.buttons(&format!("{pointer}/buttons"), &card.buttons);
        if card.subtitle.is_none() && card.image_url.is_none() && card.url.is_none() && card.buttons.is_empty() {
            self.add(pointer, "needs a subtitle, image_url, url or button beside the title");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn refuse(content: Value, expected: &[&str]) {
        let content: Content = serde_json::from_value(content).expect("well-formed content");
        let faults = check(&content);
        assert_eq!(faults.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), expected, "{faults:?}");
    }

    #[test]
    fn texts_are_1_to_20000_units_and_not_blank() {
        let text = |text: &str| json!({"kind": "text", "text": text});
        refuse(text("Hello"), &[]);
        refuse(text(&"a".repeat(20_000)), &[]);
        refuse(text(&"a".repeat(20_001)), &["/text"]);
        refuse(text(&"😀".repeat(10_001)), &["/text"]);
        refuse(text(" \n "), &["/text"]);
        refuse(text(""), &["/text"]);
        refuse(text("a\u{0}b"), &["/text"]);
    }

    #[test]
    fn what_only_contacts_send_is_refused() {
        refuse(json!({"kind": "choice", "text": "a", "payload": "b", "via": "postback"}), &["/kind"]);
        refuse(json!({"kind": "shared_field", "field": "email", "value": "a@example.com"}), &["/kind"]);
        refuse(json!({"kind": "unsupported", "what": "x"}), &["/kind"]);
    }

    #[test]
    fn attachments_are_media_with_a_web_address() {
        let of = |list: Value| json!({"kind": "attachments", "attachments": list});
        let image = json!({"type": "image", "url": "https://cdn.example/a.png"});
        refuse(of(json!([image])), &[]);
        refuse(of(Value::Array(vec![image.clone(); 10])), &[]);
        refuse(of(Value::Array(vec![image; 11])), &["/attachments"]);
        refuse(of(json!([])), &["/attachments"]);
        refuse(of(json!([{"type": "file"}])), &["/attachments/0/url"]);
        refuse(of(json!([{"type": "audio", "url": "ftp://cdn.example/a"}])), &["/attachments/0/url"]);
        refuse(of(json!([{"type": "video", "url": "file:///etc/passwd"}])), &["/attachments/0/url"]);
        refuse(of(json!([{"type": "sticker", "url": "https://a.example"}])), &["/attachments/0/type"]);
        refuse(
            of(json!([{"type": "location", "lat": 0.0, "long": 0.0}])),
            &["/attachments/0/type", "/attachments/0/url"],
        );
        let id = "0190a000-0000-7000-8000-000000000000";
        refuse(of(json!([{"type": "image", "id": id}])), &[]);
        refuse(of(json!([{"type": "image", "id": id, "url": "https://a.example"}])), &["/attachments/0/url"]);
        refuse(of(json!([{"type": "image", "id": id, "state": "stored"}])), &["/attachments/0"]);
        refuse(
            json!({"kind": "attachments", "text": " ", "attachments": [{"type": "image", "url": "http://a.example"}]}),
            &["/text"],
        );
    }

    #[test]
    fn quick_replies_and_requests_keep_to_messengers_limits() {
        let of = |title: &str, payload: &str, count: usize| {
            json!({"kind": "quick_replies", "text": "Which?",
            "replies": vec![json!({"title": title, "payload": payload}); count]})
        };
        refuse(of(&"ä".repeat(20), &"p".repeat(1000), 13), &[]);
        refuse(of(&"ä".repeat(21), &"p".repeat(1001), 1), &["/replies/0/title", "/replies/0/payload"]);
        refuse(of("", " ", 1), &["/replies/0/title", "/replies/0/payload"]);
        refuse(of("a", "b", 0), &["/replies"]);
        refuse(of("a", "b", 14), &["/replies"]);
        refuse(json!({"kind": "request_field", "field": "email"}), &[]);
        refuse(json!({"kind": "request_field", "field": "email", "text": ""}), &["/text"]);
    }

    #[test]
    fn buttons_and_cards_keep_to_messengers_limits() {
        let url = json!({"type": "url", "title": "Open", "url": "https://shop.example/"});
        let call = |phone: &str| json!({"kind": "buttons", "text": "Call", "buttons": [{"type": "call", "title": "Call", "phone": phone}]});
        refuse(json!({"kind": "buttons", "text": "t".repeat(640), "buttons": [url, url, url]}), &[]);
        refuse(json!({"kind": "buttons", "text": "t".repeat(641), "buttons": []}), &["/text", "/buttons"]);
        refuse(json!({"kind": "buttons", "text": "t", "buttons": [url, url, url, url]}), &["/buttons"]);
        refuse(
            json!({"kind": "buttons", "text": "t", "buttons": [{"type": "url", "title": "x", "url": "javascript:1"}]}),
            &["/buttons/0/url"],
        );
        refuse(
            json!({"kind": "buttons", "text": "t", "buttons": [{"type": "postback", "title": "x", "payload": ""}]}),
            &["/buttons/0/payload"],
        );
        refuse(call("+15555550123"), &[]);
        refuse(call("15555550123"), &["/buttons/0/phone"]);
        refuse(call("+1 555 555"), &["/buttons/0/phone"]);
        refuse(call("+"), &["/buttons/0/phone"]);
        let cards = |card: Value, count: usize| json!({"kind": "carousel", "elements": vec![card; count]});
        refuse(cards(json!({"title": "t".repeat(80), "subtitle": "s".repeat(80)}), 10), &[]);
        refuse(cards(json!({"title": "t", "buttons": [url]}), 11), &["/elements"]);
        refuse(cards(json!({"title": "t"}), 0), &["/elements"]);
        refuse(cards(json!({"title": "t"}), 1), &["/elements/0"]);
        refuse(
            cards(json!({"title": "t".repeat(81), "subtitle": "s".repeat(81)}), 1),
            &["/elements/0/title", "/elements/0/subtitle"],
        );
        refuse(
            cards(json!({"title": "t", "image_url": "a.png", "url": "b"}), 1),
            &["/elements/0/image_url", "/elements/0/url"],
        );
        refuse(cards(json!({"title": "t", "buttons": [url, url, url, url]}), 1), &["/elements/0/buttons"]);
    }
}
