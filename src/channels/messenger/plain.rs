//! Everything in words, for Pages that may show plain messages only.

use crate::channels::{AttachmentKind, Button, Content};

/// The same content as text, and pictures as they are. What a contact could tap, they can read and type.
#[must_use]
pub fn plain(content: Content) -> Content {
    match content {
        Content::QuickReplies { text, replies } => {
            let choices = replies.iter().map(|it| format!("- {}", it.title));
            lines(std::iter::once(text).chain(choices))
        }
        Content::Buttons { text, buttons } => lines(std::iter::once(text).chain(buttons.iter().map(line))),
        Content::Carousel { elements } => {
            let cards = elements.into_iter().map(|card| {
                let buttons: Vec<String> = card.buttons.iter().map(line).collect();
                let parts = [Some(card.title), card.subtitle, card.url].into_iter().flatten().chain(buttons);
                parts.collect::<Vec<_>>().join("\n")
            });
            Content::Text { text: cards.collect::<Vec<_>>().join("\n\n") }
        }
        Content::RequestField { text: Some(text), .. } => Content::Text { text },
        // Files of ours go as they are: their links end, and nothing but the file itself would be left.
        Content::Attachments { text, attachments }
            if attachments.iter().any(|it| it.kind != AttachmentKind::Image && it.url.is_some()) =>
        {
            let (linked, shown): (Vec<_>, Vec<_>) =
                attachments.into_iter().partition(|it| it.kind != AttachmentKind::Image && it.url.is_some());
            let links = linked.into_iter().map(|it| {
                let url = it.url.unwrap_or_default();
                it.title.or(it.name).map_or_else(|| url.clone(), |title| format!("{title}: {url}"))
            });
            let text = text.into_iter().chain(links).collect::<Vec<_>>().join("\n");
            if shown.is_empty() {
                Content::Text { text }
            } else {
                Content::Attachments { text: Some(text), attachments: shown }
            }
        }
        content => content,
    }
}

fn lines(lines: impl Iterator<Item = String>) -> Content {
    Content::Text { text: lines.collect::<Vec<_>>().join("\n") }
}

fn line(button: &Button) -> String {
    match button {
        Button::Url { title, url } => format!("{title}: {url}"),
        Button::Call { title, phone } => format!("{title}: {phone}"),
        Button::Postback { title, .. } => format!("- {title}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(content: Value, expected: Value) {
        let content: Content = serde_json::from_value(content).expect("well-formed content");
        assert_eq!(json!(plain(content)), expected);
    }

    #[test]
    fn everything_can_be_said_in_words() {
        let text = |text: &str| json!({"kind": "text", "text": text});
        check(text("Hi"), text("Hi"));
        check(
            json!({"kind": "quick_replies", "text": "Which?", "replies": [{"title": "Red", "payload": "R"}, {"title": "Blue", "payload": "B"}]}),
            text("Which?\n- Red\n- Blue"),
        );
        check(
            json!({"kind": "buttons", "text": "So?", "buttons": [{"type": "url", "title": "Shop", "url": "https://a.example/"},
                {"type": "postback", "title": "Yes", "payload": "Y"}, {"type": "call", "title": "Call", "phone": "+15550100"}]}),
            text("So?\nShop: https://a.example/\n- Yes\nCall: +15550100"),
        );
        check(
            json!({"kind": "carousel", "elements": [{"title": "Lamp", "subtitle": "Bright", "url": "https://a.example/l"},
                {"title": "Chair", "buttons": [{"type": "postback", "title": "Buy", "payload": "C"}]}]}),
            text("Lamp\nBright\nhttps://a.example/l\n\nChair\n- Buy"),
        );
        check(json!({"kind": "request_field", "field": "email", "text": "Your address?"}), text("Your address?"));
        let image = json!({"type": "image", "url": "https://a.example/1.png"});
        let film = json!({"type": "video", "url": "https://a.example/1.mp4", "title": "How to"});
        check(
            json!({"kind": "attachments", "text": "Look", "attachments": [image, film]}),
            json!({"kind": "attachments", "text": "Look\nHow to: https://a.example/1.mp4", "attachments": [image]}),
        );
        check(json!({"kind": "attachments", "attachments": [film]}), text("How to: https://a.example/1.mp4"));
        check(
            json!({"kind": "attachments", "attachments": [image]}),
            json!({"kind": "attachments", "attachments": [image]}),
        );
    }
}
