//! What a person does: writes, taps, attaches, reads. Each becomes the event Meta would deliver. What is done to a message afterwards is
//! in `afterwards`.

use serde_json::{Value, json};

use super::events::{self, Event};
use super::world::{Line, Said, fresh_mid};
use super::{Person, Simulator};

// Every method here returns when the first delivery was answered, whatever the answer; retries go on behind it.
impl Simulator {
    /// Writes a text; returns its mid.
    pub async fn say(&self, page_id: &str, psid: &str, text: &str) -> String {
        self.act(page_id, psid, Act::text(text)).await
    }

    /// Writes a text as the answer to a message; returns its mid.
    pub async fn answer(&self, page_id: &str, psid: &str, text: &str, reply_to: &str) -> String {
        let content = json!({"text": text, "reply_to": {"mid": reply_to}});
        let act = Act { content, reply_to: Some(reply_to.to_owned()), ..Act::text(text) };
        self.act(page_id, psid, act).await
    }

    /// Taps a chip, named by its title or its kind. With an empty payload it is taken from the chip on the screen;
    /// `user_email` and `user_phone_number` share what the person's profile has.
    pub async fn tap_quick_reply(&self, page_id: &str, psid: &str, title_or_kind: &str, payload: &str) -> String {
        let (text, payload) = {
            let mut world = self.core.world();
            tapped(world.person_mut(page_id, psid), title_or_kind, payload)
        };
        self.act(page_id, psid, Act::quick_reply(&text, &payload)).await
    }

    /// Taps a button of a template; the same as [`Simulator::postback`].
    pub async fn tap_button(&self, page_id: &str, psid: &str, title: &str, payload: &str) -> String {
        self.postback(page_id, psid, title, payload).await
    }

    /// Causes a postback: a button, Get Started, the menu.
    pub async fn postback(&self, page_id: &str, psid: &str, title: &str, payload: &str) -> String {
        self.act(page_id, psid, Act::postback(title, payload)).await
    }

    /// Sends a file that lies at `url`; `kind` is `image`, `audio`, `video` or `file`.
    pub async fn attach(&self, page_id: &str, psid: &str, kind: &str, url: &str) -> String {
        self.act(page_id, psid, Act::attachment(kind, url)).await
    }

    /// Reads everything the Page has written so far.
    pub async fn read_all(&self, page_id: &str, psid: &str) {
        let now = self.core.clock.now();
        let event = {
            let mut world = self.core.world();
            let at_ms = world.stamp_ms(now);
            let person = world.person_mut(page_id, psid);
            let Some(watermark) = person.received().last().map(|it| it.at_ms) else { return };
            person.read_ms = watermark;
            let content = json!({"read": {"watermark": watermark}});
            events::by_person(page_id, psid, "message_reads", at_ms, None, content)
        };
        let _ = self.core.deliver(event).await;
    }

    /// Delivers any other item of a `messaging` array, as it is, under a subscription field.
    pub async fn deliver_item(&self, page_id: &str, field: &str, item: Value) {
        let event = Event { page_id: page_id.to_owned(), psid: None, field: field.to_owned(), mid: None, item };
        let _ = self.core.deliver(event).await;
    }

    /// Clicks on an ad that leads into the chat. What the person writes next opens the longer window.
    pub async fn click_ad(&self, page_id: &str, psid: &str, ad_id: &str) {
        let content = json!({"referral": {"source": "ADS", "type": "OPEN_THREAD", "ad_id": ad_id}});
        let click = |person: &mut Person, at_ms| {
            person.has_clicked_ad = true;
            events::by_person(page_id, psid, "messaging_referrals", at_ms, None, content)
        };
        self.does(page_id, psid, click).await;
    }

    async fn act(&self, page_id: &str, psid: &str, act: Act) -> String {
        let mid = fresh_mid();
        let now = self.core.clock.now();
        let says = |person: &mut Person, at_ms| {
            person.acted_at = Some(now);
            if std::mem::take(&mut person.has_clicked_ad) {
                person.ad_message_at = Some(now);
            }
            let said = Said {
                mid: mid.clone(),
                text: act.text,
                attachment: act.attachment,
                reply_to: act.reply_to,
                edits: 0,
                is_unsent: false,
                at_ms,
            };
            person.lines.push(Line::Person(said));
            events::by_person(page_id, psid, act.field, at_ms, Some(&mid), with_mid(act.key, &mid, act.content))
        };
        self.does(page_id, psid, says).await;
        mid
    }

    /// Something the person does now, at a stamp of its own; it is delivered.
    pub(super) async fn does(&self, page_id: &str, psid: &str, act: impl FnOnce(&mut Person, i64) -> Event) {
        let event = {
            let mut world = self.core.world();
            let at_ms = world.stamp_ms(self.core.clock.now());
            act(world.person_mut(page_id, psid), at_ms)
        };
        self.core.changed(page_id, psid);
        let _ = self.core.deliver(event).await;
    }
}

/// `{"message": {"mid": …, …}}`, the id first as Meta has it.
fn with_mid(key: &str, mid: &str, content: Value) -> Value {
    let mut whole = json!({"mid": mid});
    if let (Value::Object(whole), Value::Object(content)) = (&mut whole, content) {
        whole.extend(content);
    }
    json!({ key: whole })
}

/// Text and payload of a tapped chip.
fn tapped(person: &Person, title_or_kind: &str, payload: &str) -> (String, String) {
    let shared = match title_or_kind {
        "user_email" => Some(&person.email),
        "user_phone_number" => Some(&person.phone),
        _ => None,
    };
    if let Some(shared) = shared {
        let value = if payload.is_empty() { shared.clone().unwrap_or_default() } else { payload.to_owned() };
        return (value.clone(), value);
    }
    let on_screen = person.offered().iter().find(|it| it.title.as_deref() == Some(title_or_kind));
    let payload = match on_screen.and_then(|it| it.payload.clone()) {
        Some(shown) if payload.is_empty() => shown,
        _ => payload.to_owned(),
    };
    (title_or_kind.to_owned(), payload)
}

/// What a person writes or taps, before it has an id.
struct Act {
    field: &'static str,
    /// What the chat shows.
    text: Option<String>,
    attachment: Option<(String, String)>,
    /// The mid of the message that it answers.
    reply_to: Option<String>,
    /// `message` or `postback`.
    key: &'static str,
    /// The content beside the id.
    content: Value,
}

impl Act {
    /// A plain text.
    fn text(text: &str) -> Self {
        Self {
            field: "messages",
            text: Some(text.to_owned()),
            attachment: None,
            reply_to: None,
            key: "message",
            content: json!({"text": text}),
        }
    }

    /// A tapped chip.
    fn quick_reply(text: &str, payload: &str) -> Self {
        Self { content: json!({"text": text, "quick_reply": {"payload": payload}}), ..Self::text(text) }
    }

    /// A tapped button.
    fn postback(title: &str, payload: &str) -> Self {
        Self {
            field: "messaging_postbacks",
            text: Some(title.to_owned()),
            attachment: None,
            reply_to: None,
            key: "postback",
            content: json!({"title": title, "payload": payload}),
        }
    }

    /// A file, picture, voice note…
    fn attachment(kind: &str, url: &str) -> Self {
        Self {
            field: "messages",
            text: None,
            attachment: Some((kind.to_owned(), url.to_owned())),
            reply_to: None,
            key: "message",
            content: json!({"attachments": [{"type": kind, "payload": {"url": url}}]}),
        }
    }
}
