//! What the refusals of the settings' modules are at the door. A new case must be answered here.

use serde_json::json;

use super::problem::{self, Problem};
use crate::{
    check::Invalid,
    hours::store::RemoveError,
    people::{login::LoginError, passwords::Busy, users::UserError},
    queues::settings::SettingsError,
    tenants::TenantError,
    widgets::WidgetError,
};

impl From<Invalid> for Problem {
    fn from(Invalid(found): Invalid) -> Self {
        Self::invalid(found)
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::SlugTaken => conflict("/slug", "Another tenant has this slug."),
            TenantError::Db(source) => source.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::EmailTaken => conflict("/email", "Another user of the tenant has this e-mail address."),
            UserError::LastAdmin => Self::of(problem::CONFLICT)
                .detail("This is the last active admin. Make somebody else admin first, or nobody could set the tenant up."),
            UserError::HasRooms => Self::of(problem::IN_USE)
                .detail("The user has or had rooms, whose records keep the name. Deactivate the user instead (\"active\": false)."),
            UserError::Db(source) => source.into(),
        }
    }
}

impl From<Busy> for Problem {
    fn from(Busy: Busy) -> Self {
        Self::of(problem::UNAVAILABLE).detail("Too many passwords are being checked at the moment.").retry_after(2)
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Wrong => Self::of(problem::BAD_LOGIN),
            LoginError::Throttled(wait) => {
                Self::of(problem::TOO_MANY).detail("Too many failed logins.").retry_after(wait.seconds)
            }
            LoginError::Suspended => Self::of(problem::TENANT_SUSPENDED),
            LoginError::Busy(busy) => busy.into(),
            LoginError::Db(source) => source.into(),
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::NameTaken => conflict("/name", "Another queue has this name."),
            SettingsError::WidgetTaken => {
                conflict("/widget_id", "The widget has an incoming chat; it can have only one.")
            }
            SettingsError::Missing(fields) => {
                Self::invalid(fields.into_iter().map(|it| (it.to_owned(), "names nothing of this tenant".to_owned())))
            }
            SettingsError::OverflowCircle => {
                Self::field("/overflow_queue_id", "leads back to this queue: rooms would go round for ever")
            }
            SettingsError::InUse => Self::of(problem::IN_USE)
                .detail("Incoming chats, rooms or the overflow of other queues refer to the queue. Let them go elsewhere first."),
            SettingsError::Db(source) => source.into(),
        }
    }
}

impl From<RemoveError> for Problem {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::InUse => {
                Self::of(problem::IN_USE).detail("Incoming chats follow these working hours. Give them others first.")
            }
            RemoveError::Db(source) => source.into(),
        }
    }
}

impl From<WidgetError> for Problem {
    fn from(error: WidgetError) -> Self {
        match error {
            WidgetError::Invalid(invalid) => invalid.into(),
            WidgetError::OtherVerifyToken => conflict(
                "/messenger/verify_token",
                "The app is known with another verify token. Leave it out, or rotate it with POST /widgets/{id}/verify-token.",
            ),
            WidgetError::PageTaken => conflict("/messenger/page_id", "The Page is connected already under this app."),
            WidgetError::HasRooms => Self::of(problem::IN_USE).detail(
                "The widget has or had rooms, whose records stay. Disable its incoming chat, or take its page access token away, instead.",
            ),
            WidgetError::AppInUse => Self::of(problem::IN_USE).detail("Widgets are connected under this app. Remove them first."),
            WidgetError::AppTaken => conflict("/app_id", "The app is known already."),
            WidgetError::NoToken => Self::of(problem::PAGE_DISCONNECTED).detail("The widget has no page access token."),
            WidgetError::GraphAway => Self::of(problem::GRAPH_AWAY).retry_after(5),
            WidgetError::GraphRefused(words) => Self::of(problem::GRAPH_REFUSED).detail(words),
            WidgetError::Seal(source) => Self::internal(source),
            WidgetError::Db(source) => source.into(),
        }
    }
}

/// 409 about one field.
fn conflict(pointer: &str, detail: &str) -> Problem {
    Problem::of(problem::CONFLICT).detail(detail).with("errors", json!([{ "pointer": pointer, "detail": detail }]))
}
