//! Widgets: where contacts come in. One Page under one Meta app each (later also web sites).

pub mod apps;
pub mod connect;
pub mod health;
pub mod store;
pub mod texts;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::WidgetId,
    secret::{Secret, hidden, never_shown},
    words,
};
use health::Health;
use texts::Texts;

/// Most tags that a widget may offer.
const MAX_TAGS: usize = 200;
/// Longest tag, in characters.
const MAX_TAG: usize = 100;
/// Longest id of Meta's; theirs have some 16 digits.
const MAX_META_ID: usize = 64;
/// Longest token or secret.
const MAX_SECRET: usize = 2000;
const DEFAULT_COLOR: &str = "#1877f2";

words! {
    /// How contacts come in.
    pub enum Channel {
        /// A Facebook Page.
        Messenger = "messenger",
        /// A web site of the tenant.
        Webchat = "webchat",
    }
}

/// Tags for rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = WidgetTags)]
pub struct Tags {
    /// What agents may choose from.
    #[schema(example = json!(["sales", "order"]))]
    pub offered: Vec<String>,
    /// A room cannot be closed without one.
    pub required: bool,
}

/// A widget.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Widget {
    /// Its id.
    pub id: WidgetId,
    /// Its name, for the tenant's people.
    #[schema(example = "Acme page")]
    pub name: String,
    /// How contacts come in.
    pub channel: Channel,
    /// Its name, for contacts.
    #[schema(example = "Acme")]
    pub display_name: String,
    /// Shown beside its rooms.
    #[schema(example = "#1877f2")]
    pub color: String,
    /// Tags for its rooms.
    pub tags: Tags,
    /// What it says by itself.
    pub texts: Texts,
    /// The Page; null on other channels.
    pub messenger: Option<Messenger>,
    /// Whether it works, as far as is known.
    pub health: Health,
    /// When it was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// A Page and its Meta app, without the secrets.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Messenger {
    /// The app's id at Meta.
    #[schema(example = "1654219114885622")]
    pub app_id: String,
    /// The app's name.
    pub app_name: Option<String>,
    /// The Page's id at Meta.
    #[schema(example = "1002003004005")]
    pub page_id: String,
    /// The Page's name, once it is known.
    pub page_name: Option<String>,
    /// Meta has allowed the app the Human Agent feature: replies up to 7 days.
    pub human_agent: bool,
    /// The Page may show plain messages only (European privacy rules): everything else goes out as text.
    pub plain_only: bool,
    /// There is an app secret.
    pub has_app_secret: bool,
    /// There is a page access token.
    pub has_page_access_token: bool,
}

/// What can be set about a widget.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WidgetInput {
    /// Its name, for the tenant's people.
    #[schema(example = "Acme page", min_length = 1, max_length = 200)]
    pub name: String,
    /// How contacts come in; cannot be changed.
    pub channel: Channel,
    /// Its name, for contacts; `name` by default.
    #[serde(default)]
    #[schema(example = "Acme", max_length = 200)]
    pub display_name: Option<String>,
    /// Shown beside its rooms.
    #[serde(default = "default_color")]
    #[schema(pattern = "^#[0-9a-f]{6}$", default = "#1877f2")]
    pub color: String,
    /// Tags for its rooms.
    #[serde(default)]
    pub tags: Tags,
    /// What it says by itself.
    #[serde(default)]
    pub texts: Texts,
    /// The Page; required with `channel: "messenger"`.
    #[serde(default)]
    pub messenger: Option<MessengerInput>,
    /// Taken so that the refusal names the channel.
    #[serde(default, skip_serializing_if = "never_shown", serialize_with = "hidden")]
    #[schema(ignore)]
    pub webchat: Option<serde_json::Value>,
}

fn default_color() -> String {
    DEFAULT_COLOR.to_owned()
}

/// What can be set about a Page and its Meta app. Secrets go in and never come out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessengerInput {
    /// The app's id at Meta. Widgets with the same app share callback, verify token and secret.
    #[schema(example = "1654219114885622", max_length = 64)]
    pub app_id: String,
    /// The app's name.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub app_name: Option<String>,
    /// The app's secret; may be left out where the app is known. The one before stays valid for 24 hours.
    #[serde(default, skip_serializing_if = "never_shown", serialize_with = "hidden")]
    #[schema(value_type = Option<String>, format = "password", write_only, example = "0123456789abcdef0123456789abcdef")]
    pub app_secret: Option<Secret>,
    /// The Page's access token; required for a new widget. Null takes it away.
    #[serde(default, skip_serializing_if = "never_shown", serialize_with = "hidden", deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "password", write_only, example = "EAAB…")]
    pub page_access_token: Option<Option<Secret>>,
    /// The Page's id at Meta; looked up with the token if absent. Cannot be changed.
    #[serde(default)]
    #[schema(example = "1002003004005", max_length = 64)]
    pub page_id: Option<String>,
    /// What Meta must say when it verifies the callback; made if absent.
    #[serde(default, skip_serializing_if = "never_shown", serialize_with = "hidden")]
    #[schema(write_only, max_length = 200)]
    pub verify_token: Option<String>,
    /// Meta has allowed the app the Human Agent feature.
    #[serde(default)]
    #[schema(default = false)]
    pub human_agent: bool,
    /// The Page may show plain messages only.
    #[serde(default)]
    #[schema(default = false)]
    pub plain_only: bool,
}

/// Tells null (take it away) from absent (leave it).
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Secret>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Widget {
    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> WidgetInput {
        WidgetInput {
            name: self.name.clone(),
            channel: self.channel,
            display_name: Some(self.display_name.clone()),
            color: self.color.clone(),
            tags: self.tags.clone(),
            texts: self.texts.clone(),
            messenger: self.messenger.as_ref().map(|it| MessengerInput {
                app_id: it.app_id.clone(),
                app_name: it.app_name.clone(),
                page_id: Some(it.page_id.clone()),
                human_agent: it.human_agent,
                plain_only: it.plain_only,
                ..MessengerInput::default()
            }),
            webchat: None,
        }
    }
}

impl WidgetInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        if self.channel == Channel::Webchat {
            return Err(Invalid::at("/channel", "web chat is not available yet"));
        }
        if self.webchat.is_some() {
            faults.add("/webchat", "is only for web chat");
        }
        faults.name("/name", &mut self.name);
        if let Some(name) = &mut self.display_name {
            faults.line("/display_name", name, 0..=crate::check::MAX_NAME);
        }
        if self.display_name.as_ref().is_none_or(String::is_empty) {
            self.display_name = Some(self.name.clone());
        }
        self.color = self.color.to_ascii_lowercase();
        if !is_color(&self.color) {
            faults.add("/color", "must be a color such as #1877f2");
        }
        self.tags.check(&mut faults);
        self.texts.check(&mut faults);
        match &mut self.messenger {
            Some(messenger) => messenger.check(&mut faults),
            None => faults.add("/messenger", "is required"),
        }
        faults.done()
    }
}

impl Tags {
    fn check(&mut self, faults: &mut Faults) {
        faults.range_of("/tags/offered", self.offered.len(), 0..=MAX_TAGS, "tags");
        for (n, tag) in self.offered.iter_mut().enumerate() {
            faults.line(&format!("/tags/offered/{n}"), tag, 1..=MAX_TAG);
        }
        let mut kept = std::collections::HashSet::new();
        self.offered.retain(|it| kept.insert(it.clone()));
    }
}

impl MessengerInput {
    fn check(&mut self, faults: &mut Faults) {
        check_meta_id(faults, "/messenger/app_id", &mut self.app_id);
        if let Some(name) = &mut self.app_name {
            faults.name("/messenger/app_name", name);
        }
        if let Some(secret) = &mut self.app_secret {
            check_secret(faults, "/messenger/app_secret", secret);
        }
        if let Some(Some(token)) = &mut self.page_access_token {
            check_secret(faults, "/messenger/page_access_token", token);
        }
        if let Some(id) = &mut self.page_id {
            check_meta_id(faults, "/messenger/page_id", id);
        }
        if let Some(token) = &mut self.verify_token {
            faults.name("/messenger/verify_token", token);
        }
    }
}

/// An id of Meta's becomes part of addresses there.
pub(crate) fn check_meta_id(faults: &mut Faults, pointer: &str, id: &mut String) {
    *id = id.trim().to_owned();
    if !(1..=MAX_META_ID).contains(&id.len()) || !id.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it))
    {
        faults.add(pointer, "must be an id as Meta shows it: digits");
    }
}

/// Trims what came by copy and paste. A token or secret travels in a header, so it must be plain.
pub(crate) fn check_secret(faults: &mut Faults, pointer: &str, secret: &mut Secret) {
    *secret = Secret::new(secret.expose().trim());
    let text = secret.expose();
    if !(1..=MAX_SECRET).contains(&text.len()) || !text.bytes().all(|it| it.is_ascii_graphic()) {
        faults.add(pointer, "must be 1–2000 letters, digits and signs without spaces");
    }
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|it| it.len() == 6 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Why a widget cannot be written or checked.
#[derive(Debug, thiserror::Error)]
pub enum WidgetError {
    /// Fields that are wrong in the light of what is stored.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The app has another verify token.
    #[error("the app has another verify token")]
    OtherVerifyToken,
    /// Another widget has the Page.
    #[error("the Page is connected already")]
    PageTaken,
    /// The widget has or had rooms.
    #[error("the widget has rooms")]
    HasRooms,
    /// Widgets use the app.
    #[error("widgets use the app")]
    AppInUse,
    /// The operator has the app already.
    #[error("the app is known already")]
    AppTaken,
    /// The widget has no page access token.
    #[error("the widget has no page access token")]
    NoToken,
    /// The Graph API could not be reached.
    #[error("the Graph API is away")]
    GraphAway,
    /// The Graph API refused, in these words.
    #[error("the Graph API refused: {0}")]
    GraphRefused(String),
    /// A stored secret does not open.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let mut input: WidgetInput = serde_json::from_str(body).unwrap();
        let found = input.check().err().map_or_else(Vec::new, |Invalid(found)| found);
        assert_eq!(found.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_wrong_field_is_named() {
        check(r#"{"name":"A","channel":"messenger","messenger":{"app_id":"1"}}"#, &[]);
        check(r#"{"name":"A","channel":"webchat","webchat":{"allowed_origins":[]}}"#, &["/channel"]);
        check(r#"{"name":"A","channel":"messenger"}"#, &["/messenger"]);
        check(
            r#"{"name":"A","channel":"messenger","color":"red","messenger":{"app_id":"a/b"}}"#,
            &["/color", "/messenger/app_id"],
        );
        check(
            r#"{"name":"A","channel":"messenger","messenger":{"app_id":"1","app_secret":"a b","page_access_token":"","page_id":""}}"#,
            &["/messenger/app_secret", "/messenger/page_access_token", "/messenger/page_id"],
        );
        check(
            r#"{"name":"A","channel":"messenger","tags":{"offered":["a",""]},"texts":{"opening":"{x}"},"messenger":{"app_id":"1"}}"#,
            &["/tags/offered/1", "/texts/opening"],
        );
    }

    #[test]
    fn null_takes_a_token_away_and_absence_leaves_it() {
        let read = |body| serde_json::from_str::<MessengerInput>(body).unwrap().page_access_token;
        assert!(read(r#"{"app_id":"1"}"#).is_none());
        assert!(read(r#"{"app_id":"1","page_access_token":null}"#).unwrap().is_none());
        assert!(read(r#"{"app_id":"1","page_access_token":"t"}"#).unwrap().is_some());
    }
}
