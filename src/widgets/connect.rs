//! Connecting a Page: which Meta app it hangs on, and which Page it is.

use sqlx::{PgConnection, PgPool};

use super::{
    MessengerInput, Widget, WidgetError, WidgetInput, apps,
    health::{Check, Health, State},
    store::{self, StoredApp, StoredWidget},
};
use crate::{
    channels::meta::graph::{Access, Graph, Verdict},
    check::Invalid,
    clock::Moment,
    ids::{TenantId, WidgetId},
    seal::SealKey,
    secret::Secret,
};

/// Column names that sealed secrets are bound to.
pub(super) const APP_SECRET: &str = "app_secret";
const PAGE_TOKEN: &str = "page_token";
/// What Facebook must tell us about a Page for chats to work.
pub const CHAT_FIELDS: [&str; 12] = [
    "messages",
    "messaging_postbacks",
    "messaging_referrals",
    "message_deliveries",
    "message_reads",
    "message_echoes",
    "message_reactions",
    "message_edits",
    "messaging_optins",
    "messaging_handovers",
    "messaging_policy_enforcement",
    "standby",
];
/// What else we ask it to tell: forms, linked accounts, labels and the Page's feed. Not carts, payments and calls, which need more
/// permissions; not `response_feedback`, which would put thumbs beside all messages of the app.
pub const MORE_FIELDS: [&str; 6] = [
    "messaging_account_linking",
    "messaging_customer_information",
    "messaging_feedback",
    "messaging_in_thread_lead_form_submit",
    "inbox_labels",
    "feed",
];

/// A Page's token, with which its replies may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Another than before.
    New,
    /// The one that was there, which counts again.
    Again,
}

/// A Page, as far as it is known before it is connected.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its id at Meta.
    pub id: String,
    /// Its name, if it had to be looked up.
    pub name: Option<String>,
}

/// Which Page a new widget is for; asks the Graph API if the input does not say. Holds no transaction while it waits.
///
/// # Errors
/// [`WidgetError::GraphAway`], or [`WidgetError::Invalid`] if the token is refused or something needed is absent.
pub async fn find_page(
    db: &PgPool,
    seal: &SealKey,
    graph: &Graph,
    tenant: TenantId,
    input: &MessengerInput,
) -> Result<Page, WidgetError> {
    let Some(Some(token)) = &input.page_access_token else {
        return Err(Invalid::at("/messenger/page_access_token", "is required").into());
    };
    let known = store::find_app(db, tenant, &input.app_id).await?;
    let secret = match (&input.app_secret, known) {
        (Some(secret), _) => secret.clone(),
        (None, Some(app)) => app.open_secret(seal)?,
        (None, None) => return Err(unknown_app()),
    };
    if let Some(id) = &input.page_id {
        return Ok(Page { id: id.clone(), name: None });
    }
    match graph.me(Access { token, app_secret: &secret }).await.map_err(WidgetError::from) {
        Ok(me) => Ok(Page { id: me.id, name: Some(me.name).filter(|it| !it.is_empty()) }),
        Err(WidgetError::GraphRefused(words)) => Err(Invalid::at("/messenger/page_access_token", words).into()),
        Err(error) => Err(error),
    }
}

/// Adds a widget for this Page.
///
/// # Errors
/// See [`WidgetError`].
pub async fn create(
    db: &mut PgConnection,
    seal: &SealKey,
    tenant: TenantId,
    input: WidgetInput,
    page: Page,
    now: Moment,
) -> Result<Widget, WidgetError> {
    let messenger = input.messenger.as_ref().ok_or_else(|| Invalid::at("/messenger", "is required"))?;
    let app = apps::resolve(&mut *db, seal, tenant, messenger, now).await?;
    let id = WidgetId::fresh(now);
    let token = messenger.page_access_token.clone().flatten();
    let widget = StoredWidget {
        id,
        page_token: token.map(|it| seal.seal(tenant, id.0, PAGE_TOKEN, &it)),
        page_token_is_dead: false,
        page_name: page.name.clone(),
        page_id: Some(page.id.clone()),
        health: Health::default(),
        app,
        human_agent: messenger.human_agent,
        plain_only: messenger.plain_only,
        name: input.name,
        channel: input.channel,
        display_name: input.display_name.unwrap_or_default(),
        color: input.color,
        tags: input.tags,
        texts: input.texts,
        created_at: now,
        updated_at: now,
    };
    store::insert_widget(db, tenant, &widget).await?;
    Ok(widget.view())
}

/// Writes changed settings over `stored`, which the caller has locked. A page access token that was entered is trusted until Meta
/// refuses it: it comes second.
///
/// # Errors
/// See [`WidgetError`].
pub async fn change(
    db: &mut PgConnection,
    seal: &SealKey,
    tenant: TenantId,
    mut stored: StoredWidget,
    input: WidgetInput,
    now: Moment,
) -> Result<(Widget, Option<Token>), WidgetError> {
    let messenger = input.messenger.as_ref().ok_or_else(|| Invalid::at("/messenger", "is required"))?;
    if messenger.page_id.is_some() && messenger.page_id != stored.page_id {
        return Err(
            Invalid::at("/messenger/page_id", "cannot be changed; connect the other Page as another widget").into()
        );
    }
    stored.app = apps::resolve(&mut *db, seal, tenant, messenger, now).await?;
    let mut entered = None;
    match &messenger.page_access_token {
        None => {}
        Some(Some(token)) => {
            // One that cannot be opened any more is another.
            let before = stored.open_token(seal, tenant).ok().flatten();
            let is_same = before.is_some_and(|it| it.expose() == token.expose());
            entered = Some(if is_same { Token::Again } else { Token::New });
            stored.page_token = Some(seal.seal(tenant, stored.id.0, PAGE_TOKEN, token));
            stored.page_token_is_dead = false;
            stored.health = stored.health.with(token_check(State::Unchecked, "A new token, not tried yet.", now));
        }
        Some(None) => {
            stored.page_token = None;
            stored.page_token_is_dead = true;
            stored.health = stored.health.with(token_check(State::Disconnected, "There is no page access token.", now));
        }
    }
    stored.human_agent = messenger.human_agent;
    stored.plain_only = messenger.plain_only;
    stored.name = input.name;
    stored.display_name = input.display_name.unwrap_or_default();
    (stored.color, stored.tags, stored.texts, stored.updated_at) = (input.color, input.tags, input.texts, now);
    store::update_widget(db, tenant, &stored).await?;
    Ok((stored.view(), entered))
}

/// Registers the callback with the app and the app with the Page, through the Graph API. One field that the app may not have makes
/// Meta refuse all of them; then it is asked for those that chats need.
///
/// # Errors
/// [`WidgetError::NoToken`], [`WidgetError::GraphAway`], [`WidgetError::GraphRefused`]
pub async fn subscribe(
    graph: &Graph,
    seal: &SealKey,
    tenant: TenantId,
    widget: &StoredWidget,
    callback_url: &str,
) -> Result<(), WidgetError> {
    let secret = widget.app.open_secret(seal)?;
    let token = widget.open_token(seal, tenant)?.ok_or(WidgetError::NoToken)?;
    let verify_token = Secret::new(widget.app.verify_token.clone());
    let access = Access { token: &token, app_secret: &secret };
    let app_id = &widget.app.app_id;
    let all = [&CHAT_FIELDS[..], &MORE_FIELDS].concat();
    match graph.subscribe_app(app_id, &secret, callback_url, &verify_token, &all).await {
        Err(verdict) if may_be_the_fields(&verdict) => {
            graph.subscribe_app(app_id, &secret, callback_url, &verify_token, &CHAT_FIELDS).await?;
        }
        answer => answer?,
    }
    match graph.subscribe_page(access, widget.page_id(), &all).await {
        Err(verdict) if may_be_the_fields(&verdict) => {
            graph.subscribe_page(access, widget.page_id(), &CHAT_FIELDS).await?;
        }
        answer => answer?,
    }
    Ok(())
}

/// Whether asking for less may help: Meta understood the request and knows the token.
fn may_be_the_fields(verdict: &Verdict) -> bool {
    verdict.error().is_some_and(|it| matches!(it.code, Some(3 | 10 | 100 | 200..300)))
}

pub(super) fn unknown_app() -> WidgetError {
    Invalid::at("/messenger/app_secret", "is required: this app is not known yet").into()
}

fn token_check(state: State, detail: &str, at: Moment) -> Check {
    Check { name: PAGE_TOKEN.to_owned(), state, detail: detail.to_owned(), at }
}

impl StoredWidget {
    /// The page access token, if there is one.
    ///
    /// # Errors
    /// If it does not open: another seal key.
    pub fn open_token(&self, seal: &SealKey, tenant: TenantId) -> Result<Option<Secret>, WidgetError> {
        let sealed = self.page_token.as_ref();
        Ok(sealed.map(|it| seal.open(tenant, self.id.0, PAGE_TOKEN, it)).transpose()?)
    }
}

impl StoredApp {
    /// The app's secret.
    ///
    /// # Errors
    /// If it does not open: another seal key.
    pub fn open_secret(&self, seal: &SealKey) -> Result<Secret, WidgetError> {
        Ok(seal.open(self.owner, self.id.0, APP_SECRET, &self.app_secret)?)
    }
}
