//! Who writes: one contact for each page-scoped sender id.

pub mod store;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    check, clock,
    ids::{ContactId, WidgetId},
};

/// A contact as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Contact)]
pub struct ContactView {
    /// The contact.
    pub id: ContactId,
    /// Where they write.
    pub widget_id: WidgetId,
    /// The page-scoped sender id.
    pub sender_id: String,
    /// Full name, once known.
    pub name: Option<String>,
    /// First name, once known.
    pub first_name: Option<String>,
    /// Picture; expires.
    pub picture_url: Option<String>,
    /// E-mail address, once shared or entered.
    pub email: Option<String>,
    /// Phone number, once shared or entered.
    pub phone: Option<String>,
    /// Their language, once known, such as `tr_TR`: times are told in it.
    pub locale: Option<String>,
    /// What the channel told about them beside messages, the newest of each kind with its time: `optin`, `account_linking`,
    /// `feedback`, `customer_information`, `lead`, `referral` … And how their `email` and `phone` came here: `via` (`shared` by them,
    /// `entered` by whom `by` names) and `at`.
    #[schema(value_type = Object)]
    pub facts: serde_json::Value,
    /// When they first wrote.
    #[serde(serialize_with = "clock::millis")]
    pub created_at: DateTime<Utc>,
    /// When anything of this last changed.
    #[serde(serialize_with = "clock::millis")]
    pub updated_at: DateTime<Utc>,
}

impl ContactView {
    /// The facts that tell by whom `input` enters another e-mail address or phone number.
    #[must_use]
    pub fn origins(&self, input: &ContactInput, by: &str, at: DateTime<Utc>) -> serde_json::Value {
        let entered = serde_json::json!({ "via": "entered", "by": by, "at": clock::show(at) });
        let changed = [("email", self.email != input.email), ("phone", self.phone != input.phone)];
        changed.into_iter().filter(|it| it.1).map(|(field, _)| (field.to_owned(), entered.clone())).collect()
    }
}

/// What people may correct.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactInput {
    /// Full name, at most 200 characters.
    pub name: Option<String>,
    /// First name, at most 200 characters.
    pub first_name: Option<String>,
    /// E-mail address, at most 256 characters.
    pub email: Option<String>,
    /// Phone number, at most 64 characters.
    pub phone: Option<String>,
    /// Language, such as `tr` or `tr-TR`.
    pub locale: Option<String>,
}

impl ContactInput {
    /// What is wrong with it: (pointer, detail).
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        let limits = [
            ("name", &self.name, 200),
            ("first_name", &self.first_name, 200),
            ("email", &self.email, 256),
            ("phone", &self.phone, 64),
        ];
        for (name, value, most) in limits {
            let Some(value) = value else { continue };
            if value.chars().count() > most {
                errors.push((format!("/{name}"), format!("must have at most {most} characters")));
            } else if value.chars().any(char::is_control) {
                errors.push((format!("/{name}"), "must not contain control characters".to_owned()));
            }
        }
        if self.email.as_ref().is_some_and(|it| !it.is_empty() && !it.contains('@')) {
            errors.push(("/email".to_owned(), "must be an e-mail address".to_owned()));
        }
        if self.locale.as_deref().is_some_and(|it| check::locale(it).is_none()) {
            errors.push(("/locale".to_owned(), "must be a language such as tr or tr-TR".to_owned()));
        }
        errors
    }
}
