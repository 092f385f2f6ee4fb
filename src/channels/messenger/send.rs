//! Our content as the Send API's requests. Pure: who sends them and what becomes of the answer is `meta::graph`'s.

use serde_json::{Value, json};

use super::text::pieces;
pub use super::{
    limits::check,
    text::keyword,
    window::{AnswerPath, answer_path},
};
use crate::channels::{Attachment, AttachmentKind, Button, Card, Content, Field, QuickReply};

/// What a widget says when it asks for something and the agent gave no words.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    /// Asks for an e-mail address.
    pub email: &'a str,
    /// Asks for a phone number.
    pub phone: &'a str,
}

/// A sign of life; not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderAction {
    /// Shows that somebody writes, for about 20 s.
    TypingOn,
    /// Takes that back.
    TypingOff,
    /// Shows the person that all they wrote was seen.
    MarkSeen,
}

/// One content as the messages that carry it, in sending order: text before media, choices on the last piece.
#[must_use]
pub fn split(content: Content) -> Vec<Content> {
    match content {
        Content::Text { text } => texts(&text),
        Content::Attachments { text, attachments } => {
            let mut parts = text.map(|text| texts(&text)).unwrap_or_default();
            parts.extend(attachments.into_iter().map(|it| Content::Attachments { text: None, attachments: vec![it] }));
            parts
        }
        // Quick replies vanish with the next message, so they belong to the last one.
        Content::QuickReplies { text, replies } => with_last(&text, |text| Content::QuickReplies { text, replies }),
        Content::RequestField { field, text: Some(text) } => {
            with_last(&text, |text| Content::RequestField { field, text: Some(text) })
        }
        whole => vec![whole],
    }
}

fn texts(text: &str) -> Vec<Content> {
    pieces(text).into_iter().map(|text| Content::Text { text }).collect()
}

fn with_last(text: &str, last: impl FnOnce(String) -> Content) -> Vec<Content> {
    let mut pieces = pieces(text);
    let last = last(pieces.pop().unwrap_or_default());
    pieces.into_iter().map(|text| Content::Text { text }).chain([last]).collect()
}

/// The body of one Send API call for one part of [`split`].
///
/// `metadata` comes back in the echo. A closed path makes an ordinary response: Meta's refusal is then the truth.
#[must_use]
pub fn request(psid: &str, content: &Content, metadata: &str, path: AnswerPath, prompts: Prompts<'_>) -> Value {
    let mut message = message(content, prompts);
    message["metadata"] = json!(metadata);
    let mut body = json!({"recipient": {"id": psid}, "messaging_type": "RESPONSE", "message": message});
    if let AnswerPath::HumanAgent { .. } = path {
        body["messaging_type"] = json!("MESSAGE_TAG");
        body["tag"] = json!("HUMAN_AGENT");
    }
    body
}

/// The body of a call that shows typing or marks as seen.
#[must_use]
pub fn action(psid: &str, action: SenderAction) -> Value {
    let word = match action {
        SenderAction::TypingOn => "typing_on",
        SenderAction::TypingOff => "typing_off",
        SenderAction::MarkSeen => "mark_seen",
    };
    json!({"recipient": {"id": psid}, "sender_action": word})
}

/// The body of a call that shows the Page's reaction to a message, or takes it back.
#[must_use]
pub fn reaction(psid: &str, mid: &str, emoji: Option<&str>) -> Value {
    match emoji {
        Some(emoji) => {
            json!({"recipient": {"id": psid}, "sender_action": "react", "payload": {"message_id": mid, "reaction": emoji}})
        }
        None => json!({"recipient": {"id": psid}, "sender_action": "unreact", "payload": {"message_id": mid}}),
    }
}

fn message(content: &Content, prompts: Prompts<'_>) -> Value {
    match content {
        Content::Text { text } => json!({"text": text}),
        Content::Attachments { text, attachments } => match (attachments.first(), text) {
            (Some(first), _) => json!({"attachment": attachment(first)}),
            (None, text) => json!({"text": text}),
        },
        Content::RequestField { field, text } => {
            let (content_type, prompt) = match field {
                Field::Email => ("user_email", prompts.email),
                Field::Phone => ("user_phone_number", prompts.phone),
            };
            json!({"text": text.as_deref().unwrap_or(prompt), "quick_replies": [{"content_type": content_type}]})
        }
        Content::QuickReplies { text, replies } => {
            let replies: Vec<Value> = replies.iter().map(quick_reply).collect();
            json!({"text": text, "quick_replies": replies})
        }
        Content::Buttons { text, buttons } => {
            let buttons: Vec<Value> = buttons.iter().map(button).collect();
            template(json!({"template_type": "button", "text": text, "buttons": buttons}))
        }
        Content::Carousel { elements } => {
            let elements: Vec<Value> = elements.iter().map(card).collect();
            template(json!({"template_type": "generic", "elements": elements}))
        }
        // `check` refuses these long before; should one get here, Meta refuses the empty message.
        Content::Choice { .. } | Content::SharedField { .. } | Content::Unsupported { .. } => json!({}),
    }
}

fn attachment(attachment: &Attachment) -> Value {
    let kind = attachment_type(attachment.kind);
    match &attachment.handle {
        Some(handle) => json!({"type": kind, "payload": {"attachment_id": handle}}),
        None => json!({"type": kind, "payload": {"url": attachment.url, "is_reusable": false}}),
    }
}

/// Meta's word for a kind of file.
pub(crate) fn attachment_type(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Image => "image",
        AttachmentKind::Video => "video",
        AttachmentKind::Audio => "audio",
        _ => "file",
    }
}

fn quick_reply(QuickReply { title, payload }: &QuickReply) -> Value {
    json!({"content_type": "text", "title": title, "payload": payload})
}

fn template(payload: Value) -> Value {
    json!({"attachment": {"type": "template", "payload": payload}})
}

fn button(button: &Button) -> Value {
    match button {
        Button::Url { title, url } => json!({"type": "web_url", "title": title, "url": url}),
        Button::Postback { title, payload } => json!({"type": "postback", "title": title, "payload": payload}),
        Button::Call { title, phone } => json!({"type": "phone_number", "title": title, "payload": phone}),
    }
}

fn card(card: &Card) -> Value {
    let mut element = json!({"title": card.title});
    if let Some(subtitle) = &card.subtitle {
        element["subtitle"] = json!(subtitle);
    }
    if let Some(image_url) = &card.image_url {
        element["image_url"] = json!(image_url);
    }
    if let Some(url) = &card.url {
        element["default_action"] = json!({"type": "web_url", "url": url});
    }
    if !card.buttons.is_empty() {
        element["buttons"] = card.buttons.iter().map(button).collect();
    }
    element
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;

    const OPEN: AnswerPath = AnswerPath::Standard { until: Moment::UNIX_EPOCH };
    const PROMPTS: Prompts<'_> = Prompts { email: "Your address?", phone: "Your number?" };

    #[track_caller]
    fn check_message(content: Value, expected: Value) {
        let content: Content = serde_json::from_value(content).expect("well-formed content");
        assert!(check(&content).is_empty(), "an example should be sendable");
        let body = request("7100", &content, "cg:1", OPEN, PROMPTS);
        let mut message = expected;
        message["metadata"] = json!("cg:1");
        assert_eq!(body, json!({"recipient": {"id": "7100"}, "messaging_type": "RESPONSE", "message": message}));
    }

    #[test]
    fn every_kind_has_its_request() {
        check_message(json!({"kind": "text", "text": "Hello"}), json!({"text": "Hello"}));
        check_message(
            json!({"kind": "attachments", "attachments": [{"type": "image", "url": "https://a.example/1.png"}]}),
            json!({"attachment": {"type": "image", "payload": {"url": "https://a.example/1.png", "is_reusable": false}}}),
        );
        let id = "0190a000-0000-7000-8000-000000000000";
        let mut uploaded = Content::Attachments {
            text: None,
            attachments: vec![Attachment { kind: AttachmentKind::Audio, id: id.parse().ok(), ..<_>::default() }],
        };
        let Content::Attachments { attachments, .. } = &mut uploaded else { unreachable!() };
        attachments[0].handle = Some("1857".to_owned());
        let expected = json!({"type": "audio", "payload": {"attachment_id": "1857"}});
        assert_eq!(request("7100", &uploaded, "cg:1", OPEN, PROMPTS)["message"]["attachment"], expected);
        check_message(
            json!({"kind": "request_field", "field": "email"}),
            json!({"text": "Your address?", "quick_replies": [{"content_type": "user_email"}]}),
        );
        check_message(
            json!({"kind": "request_field", "field": "phone", "text": "And by phone?"}),
            json!({"text": "And by phone?", "quick_replies": [{"content_type": "user_phone_number"}]}),
        );
        check_message(
            json!({"kind": "quick_replies", "text": "Which?", "replies": [{"title": "This", "payload": "A"}]}),
            json!({"text": "Which?", "quick_replies": [{"content_type": "text", "title": "This", "payload": "A"}]}),
        );
        check_message(
            json!({"kind": "buttons", "text": "So?", "buttons": [{"type": "url", "title": "Open", "url": "https://a.example/"},
                {"type": "postback", "title": "Yes", "payload": "YES"}, {"type": "call", "title": "Call", "phone": "+15550100"}]}),
            json!({"attachment": {"type": "template", "payload": {"template_type": "button", "text": "So?", "buttons": [
                {"type": "web_url", "title": "Open", "url": "https://a.example/"},
                {"type": "postback", "title": "Yes", "payload": "YES"},
                {"type": "phone_number", "title": "Call", "payload": "+15550100"}]}}}),
        );
        check_message(
            json!({"kind": "carousel", "elements": [{"title": "Lamp", "subtitle": "Bright", "image_url": "https://a.example/l.png",
                "url": "https://a.example/l", "buttons": [{"type": "postback", "title": "Buy", "payload": "L"}]}]}),
            json!({"attachment": {"type": "template", "payload": {"template_type": "generic", "elements": [
                {"title": "Lamp", "subtitle": "Bright", "image_url": "https://a.example/l.png",
                 "default_action": {"type": "web_url", "url": "https://a.example/l"},
                 "buttons": [{"type": "postback", "title": "Buy", "payload": "L"}]}]}}}),
        );
    }

    #[test]
    fn after_a_day_an_answer_is_tagged_as_a_humans() {
        let content = Content::Text { text: "Hello".to_owned() };
        let body = request("7100", &content, "cg:1", AnswerPath::HumanAgent { until: Moment::UNIX_EPOCH }, PROMPTS);
        assert_eq!(body["messaging_type"], "MESSAGE_TAG");
        assert_eq!(body["tag"], "HUMAN_AGENT");
    }

    #[test]
    fn signs_of_life_are_no_messages() {
        assert_eq!(
            action("7100", SenderAction::MarkSeen),
            json!({"recipient": {"id": "7100"}, "sender_action": "mark_seen"})
        );
    }

    #[test]
    fn a_reaction_is_shown_and_taken_back() {
        let to = json!({"id": "7100"});
        assert_eq!(
            reaction("7100", "m_1", Some("😊")),
            json!({"recipient": to, "sender_action": "react", "payload": {"message_id": "m_1", "reaction": "😊"}})
        );
        assert_eq!(
            reaction("7100", "m_1", None),
            json!({"recipient": to, "sender_action": "unreact", "payload": {"message_id": "m_1"}})
        );
    }

    #[test]
    fn text_goes_before_media_and_choices_come_last() {
        let long = format!("{} end", "a".repeat(1999));
        let media =
            |name: &str| Attachment { kind: AttachmentKind::File, name: Some(name.to_owned()), ..<_>::default() };
        let kinds = |content: Content| {
            split(content)
                .iter()
                .map(|part| json!(part)["kind"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let attachments = vec![media("1"), media("2")];
        assert_eq!(kinds(Content::Text { text: long.clone() }), ["text", "text"]);
        assert_eq!(kinds(Content::Attachments { text: None, attachments: attachments.clone() }), ["attachments"; 2]);
        assert_eq!(
            kinds(Content::Attachments { text: Some("Both".to_owned()), attachments }),
            ["text", "attachments", "attachments"]
        );
        assert_eq!(kinds(Content::QuickReplies { text: long.clone(), replies: vec![] }), ["text", "quick_replies"]);
        assert_eq!(kinds(Content::RequestField { field: Field::Email, text: Some(long) }), ["text", "request_field"]);
        assert_eq!(kinds(Content::RequestField { field: Field::Email, text: None }), ["request_field"]);
        assert_eq!(kinds(Content::Buttons { text: "t".to_owned(), buttons: vec![] }), ["buttons"]);
    }
}
