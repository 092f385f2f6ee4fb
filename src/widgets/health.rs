//! Whether a widget works: what was last found, and finding out.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    Widget, WidgetError,
    connect::{CHAT_FIELDS, MORE_FIELDS},
    store::{self, StoredApp, StoredWidget},
};
use crate::{
    channels::meta::graph::{Access, Graph, Verdict},
    clock::{Moment, millis, show},
    ids::{TenantId, WidgetId},
    secret::Secret,
    words,
};

words! {
    /// How well something works.
    pub enum State {
        /// It works.
        Ok = "ok",
        /// Nobody has looked yet, or looking was not possible.
        Unchecked = "unchecked",
        /// Somebody should look.
        Attention = "attention",
        /// It does not work: the Page must be connected again.
        Disconnected = "disconnected",
    }
}

/// What was found at one point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HealthCheck)]
pub struct Check {
    /// `page_token`, `subscription`, `webhook`, `signature`; `policy` and `thread_control` once Meta has told something.
    #[schema(example = "page_token")]
    pub name: String,
    /// How well it works.
    #[schema(inline)]
    pub state: State,
    /// In words.
    #[schema(example = "The token belongs to Acme.")]
    pub detail: String,
    /// When this was found.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub at: Moment,
}

impl Check {
    /// A finding.
    #[must_use]
    pub fn new(name: &str, state: State, detail: impl Into<String>, at: Moment) -> Self {
        Self { name: name.to_owned(), state, detail: detail.into(), at }
    }
}

/// Writes down what Meta told about the Page. None if that, or something newer, is known.
///
/// # Errors
/// The database's.
pub async fn note(
    db: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    check: Check,
) -> sqlx::Result<Option<Widget>> {
    let Some(mut stored) = store::lock_widget(db, tenant, widget).await? else { return Ok(None) };
    if stored.health.checks.iter().any(|it| it.name == check.name && it.at >= check.at) {
        return Ok(None);
    }
    stored.health = stored.health.with(check);
    store::update_health(db, tenant, &stored, &stored.health, None, None).await?;
    Ok(Some(stored.view()))
}

/// Whether a widget works, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = WidgetHealth)]
pub struct Health {
    /// The worst of the checks.
    #[schema(inline)]
    pub state: State,
    /// What was last found.
    pub checks: Vec<Check>,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: State::Unchecked, checks: Vec::new() }
    }
}

impl Health {
    /// The whole of some checks.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let order = [State::Disconnected, State::Attention, State::Unchecked];
        let state = order.into_iter().find(|state| checks.iter().any(|it| it.state == *state));
        let state = if checks.is_empty() { State::Unchecked } else { state.unwrap_or(State::Ok) };
        Self { state, checks }
    }

    /// The same with this check in place of the one with its name.
    #[must_use]
    pub fn with(mut self, check: Check) -> Self {
        self.checks.retain(|it| it.name != check.name);
        self.checks.insert(0, check);
        Self::of(self.checks)
    }

    /// The same with these checks in place of those with their names. What looking does not find, such as a block that Meta told of or
    /// a send that it refused, stays until it is taken back or works again.
    #[must_use]
    fn after(self, mut found: Vec<Check>) -> Self {
        let stays: Vec<_> =
            self.checks.into_iter().filter(|it| found.iter().all(|other| other.name != it.name)).collect();
        found.extend(stays);
        Self::of(found)
    }
}

impl Health {
    /// The same with wrong signatures that came since the last look: they stop every message, and nobody would look.
    #[must_use]
    pub fn with_signatures(self, app: &StoredApp) -> Self {
        match app.signature_failed_at {
            Some(at) if app.signature_failures > 0 => self.with(of_signatures(app, at)),
            // What an earlier look found is over since a right one came.
            Some(at) if self.checks.iter().any(|it| it.name == SIGNATURE && it.state != State::Ok) => {
                self.with(of_signatures(app, at))
            }
            _ => self,
        }
    }
}

/// What looking at a Page told.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What was looked at.
    pub checks: Vec<Check>,
    /// When the look began.
    pub at: Moment,
    /// Whether the token is accepted, where Meta said so.
    pub token_accepted: Option<bool>,
    /// The Page's name, where Meta told it.
    pub page_name: Option<String>,
}

/// Asks the Graph API about a widget's token and subscription, and looks at what its webhooks did.
pub async fn look(
    graph: &Graph,
    widget: &StoredWidget,
    secret: &Secret,
    token: Option<&Secret>,
    now: Moment,
) -> Findings {
    let (mut checks, mut token_accepted, mut page_name) = (Vec::new(), None, None);
    match token {
        None => {
            checks.push(Check::new("page_token", State::Disconnected, "There is no page access token.", now));
            checks.push(Check::new("subscription", State::Unchecked, "Needs a page access token.", now));
        }
        Some(token) => {
            let access = Access { token, app_secret: secret };
            let me = graph.me(access).await;
            let (state, detail) = match &me {
                Ok(me) if me.id == widget.page_id() => {
                    (token_accepted, page_name) = (Some(true), Some(me.name.clone()).filter(|it| !it.is_empty()));
                    (State::Ok, format!("The token belongs to {}.", me.name))
                }
                Ok(me) => (State::Attention, format!("The token belongs to another Page: {} ({}).", me.name, me.id)),
                Err(verdict) => {
                    let state = judged(verdict);
                    token_accepted = (state == State::Disconnected).then_some(false);
                    (state, said(verdict))
                }
            };
            checks.push(Check::new("page_token", state, detail, now));
            let (state, detail) = match graph.subscribed_apps(access, widget.page_id()).await {
                Ok(apps) => match apps.iter().find(|it| it.id == widget.app.app_id) {
                    Some(app) => of_fields(&app.subscribed_fields),
                    None => (State::Attention, "The Page sends the app nothing: subscribe.".to_owned()),
                },
                // Without a good token nothing more is known about the subscription.
                Err(verdict) if judged(&verdict) == State::Disconnected => (State::Unchecked, said(&verdict)),
                Err(verdict) => (judged(&verdict), said(&verdict)),
            };
            checks.push(Check::new("subscription", state, detail, now));
        }
    }
    checks.extend(of_webhooks(&widget.app, now));
    Findings { checks, at: now, token_accepted, page_name }
}

/// Writes what a look at the token found into what is known by now, if the token is still that one. `stored` is locked; as it is then.
///
/// # Errors
/// The database's.
pub async fn note_found(
    db: &mut PgConnection,
    tenant: TenantId,
    mut stored: StoredWidget,
    token: Option<&[u8]>,
    found: Findings,
) -> sqlx::Result<StoredWidget> {
    if stored.page_token.as_deref() != token {
        return Ok(stored);
    }
    let is_news = |name: &str| stored.health.checks.iter().all(|it| it.name != name || it.at <= found.at);
    // A send that was refused after the look began knows better whether the token is accepted.
    let token_accepted = found.token_accepted.filter(|_| is_news("page_token"));
    let checks = found.checks.into_iter().filter(|it| is_news(&it.name)).collect();
    let health = stored.health.clone().after(checks);
    store::update_health(db, tenant, &stored, &health, token_accepted, found.page_name.as_deref()).await?;
    stored.health = health;
    stored.page_token_is_dead = token_accepted.map_or(stored.page_token_is_dead, |it| !it);
    stored.page_name = found.page_name.or(stored.page_name);
    Ok(stored)
}

/// What the fields say that the Page sends to the app.
fn of_fields(fields: &[String]) -> (State, String) {
    let absent = |of: &[&str]| -> Vec<String> {
        of.iter().filter(|wanted| !fields.iter().any(|it| it == *wanted)).map(|it| (*it).to_owned()).collect()
    };
    let (needed, more) = (absent(&CHAT_FIELDS), absent(&MORE_FIELDS));
    if needed.iter().any(|it| it == "messages") {
        return (State::Attention, "The Page sends the app no messages: subscribe again.".to_owned());
    }
    if !needed.is_empty() {
        let needed = needed.join(", ");
        return (State::Attention, format!("The Page does not send the app {needed}: subscribe again."));
    }
    if !more.is_empty() {
        return (State::Ok, format!("The Page sends its messages to the app, but not {}.", more.join(", ")));
    }
    (State::Ok, "The Page sends its messages to the app.".to_owned())
}

/// What our own records say about the app's webhooks.
fn of_webhooks(app: &StoredApp, now: Moment) -> [Check; 2] {
    let (state, detail) = match (app.verified_at, app.last_event_at) {
        (_, Some(at)) => (State::Ok, format!("The last event came at {}.", show(at))),
        (Some(at), None) => (State::Ok, format!("Verified at {}; no event yet.", show(at))),
        (None, None) => (State::Attention, "Facebook has not verified the callback yet.".to_owned()),
    };
    let webhook = Check::new("webhook", state, detail, now);
    [webhook, of_signatures(app, now)]
}

const SIGNATURE: &str = "signature";

fn of_signatures(app: &StoredApp, at: Moment) -> Check {
    let (state, detail) = match app.signature_failures {
        0 => (State::Ok, "No wrong signatures.".to_owned()),
        count => {
            let last = app.signature_failed_at.map_or_else(String::new, |at| format!(", the last at {}", show(at)));
            (State::Attention, format!("{count} wrong or missing signatures{last}: does the app secret fit?"))
        }
    };
    Check::new(SIGNATURE, state, detail, at)
}

/// What a verdict says about the Page it was about.
fn judged(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Reauth { .. } => State::Disconnected,
        verdict if is_away(verdict) => State::Unchecked,
        _ => State::Attention,
    }
}

/// The Graph API could not be asked; asking later may work.
fn is_away(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Retry { .. } | Verdict::BackOff { .. } | Verdict::MaybeSent { .. })
}

fn said(verdict: &Verdict) -> String {
    let words = verdict.error().map_or_else(String::new, |it| it.message.clone());
    // Meta's words end up in PostgreSQL and in front of people.
    let words: String = words.chars().filter(|it| !it.is_control()).take(500).collect();
    let who = if is_away(verdict) { "The Graph API does not answer" } else { "Facebook refused" };
    if words.is_empty() { format!("{who}.") } else { format!("{who}: {words}") }
}

impl From<Verdict> for WidgetError {
    fn from(verdict: Verdict) -> Self {
        if is_away(&verdict) { Self::GraphAway } else { Self::GraphRefused(said(&verdict)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn whole(states: &[State], expected: State) {
        let checks = states.iter().map(|it| Check::new("x", *it, "", Moment::UNIX_EPOCH)).collect();
        assert_eq!(Health::of(checks).state, expected);
    }

    #[test]
    fn the_worst_check_counts() {
        whole(&[], State::Unchecked);
        whole(&[State::Ok, State::Ok], State::Ok);
        whole(&[State::Ok, State::Unchecked], State::Unchecked);
        whole(&[State::Unchecked, State::Attention], State::Attention);
        whole(&[State::Attention, State::Disconnected, State::Ok], State::Disconnected);
    }
}
