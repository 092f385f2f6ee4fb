//! Meta apps: one callback, one secret, many Pages. A tenant's own, or one that the operator lends to every tenant.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    MessengerInput, WidgetError, check_meta_id, check_secret,
    connect::{APP_SECRET, unknown_app},
    store::{self, StoredApp},
};
use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis, millis_opt},
    ids::{MetaAppId, TenantId},
    seal::SealKey,
    secret::{Secret, random_text},
};

/// How long an app secret stays valid after a new one: what Meta signed before it heard of the new one may still be on its way.
const OLD_SECRET_VALID: TimeDelta = TimeDelta::hours(24);

/// Where Facebook sends an app's webhooks, and whether it does.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Callback {
    /// To be entered as callback URL.
    #[schema(example = "https://chat.example.com/webhooks/messenger/3kVmQ…")]
    pub callback_url: String,
    /// To be entered as verify token.
    pub verify_token: String,
    /// When Facebook last verified it.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub verified_at: Option<Moment>,
    /// When the last rightly signed event came.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub last_event_at: Option<Moment>,
}

/// An operator's app, for every tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MetaApp {
    /// Its id here.
    pub id: MetaAppId,
    /// Its id at Meta.
    #[schema(example = "1654219114885622")]
    pub app_id: String,
    /// Its name.
    pub app_name: Option<String>,
    /// There is an app secret.
    pub has_app_secret: bool,
    /// To be entered as callback URL.
    pub callback_url: String,
    /// To be entered as verify token.
    pub verify_token: String,
    /// When Facebook last verified it.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub verified_at: Option<Moment>,
    /// When the last rightly signed event came.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub last_event_at: Option<Moment>,
    /// When it was added.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
}

/// A new app of the operator's.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetaAppInput {
    /// Its id at Meta.
    #[schema(example = "1654219114885622", max_length = 64)]
    pub app_id: String,
    /// Its secret.
    #[schema(value_type = String, format = "password", write_only)]
    pub app_secret: Secret,
    /// Its name.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub app_name: Option<String>,
    /// What Meta must say when it verifies the callback; made if absent.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub verify_token: Option<String>,
}

impl MetaAppInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        check_meta_id(&mut faults, "/app_id", &mut self.app_id);
        check_secret(&mut faults, "/app_secret", &mut self.app_secret);
        if let Some(name) = &mut self.app_name {
            faults.name("/app_name", name);
        }
        if let Some(token) = &mut self.verify_token {
            faults.name("/verify_token", token);
        }
        faults.done()
    }
}

impl StoredApp {
    /// Where Facebook sends its webhooks; `public_url` is how Facebook reaches us.
    #[must_use]
    pub fn callback_url(&self, public_url: &str) -> String {
        format!("{public_url}/webhooks/messenger/{}", self.key)
    }

    /// What a tenant's admin enters at Meta.
    #[must_use]
    pub fn callback(&self, public_url: &str) -> Callback {
        Callback {
            callback_url: self.callback_url(public_url),
            verify_token: self.verify_token.clone(),
            verified_at: self.verified_at,
            last_event_at: self.last_event_at,
        }
    }

    /// As the operator sees it.
    #[must_use]
    pub fn view(&self, public_url: &str) -> MetaApp {
        MetaApp {
            id: self.id,
            app_id: self.app_id.clone(),
            app_name: self.app_name.clone(),
            has_app_secret: true,
            callback_url: self.callback_url(public_url),
            verify_token: self.verify_token.clone(),
            verified_at: self.verified_at,
            last_event_at: self.last_event_at,
            created_at: self.created_at,
        }
    }

    fn new(
        seal: &SealKey,
        owner: TenantId,
        app_id: &str,
        app_name: Option<String>,
        secret: &Secret,
        verify_token: Option<String>,
        now: Moment,
    ) -> Self {
        let id = MetaAppId::fresh(now);
        Self {
            owner,
            id,
            app_id: app_id.to_owned(),
            app_name,
            key: random_text(),
            verify_token: verify_token.unwrap_or_else(random_text),
            app_secret: seal.seal(owner, id.0, APP_SECRET, secret),
            verified_at: None,
            last_event_at: None,
            signature_failures: 0,
            signature_failed_at: None,
            created_at: now,
        }
    }
}

/// Adds an app of the operator's.
///
/// # Errors
/// [`WidgetError::AppTaken`]
pub async fn create_for_all(
    db: &mut PgConnection,
    seal: &SealKey,
    input: MetaAppInput,
    now: Moment,
) -> Result<StoredApp, WidgetError> {
    let MetaAppInput { app_id, app_secret, app_name, verify_token } = input;
    let app = StoredApp::new(seal, TenantId::PLATFORM, &app_id, app_name, &app_secret, verify_token, now);
    if store::insert_app(db, &app).await? { Ok(app) } else { Err(WidgetError::AppTaken) }
}

/// The app that a tenant's widget names: its own, which is made or gets a new secret as needed, or else the operator's.
pub(super) async fn resolve(
    db: &mut PgConnection,
    seal: &SealKey,
    tenant: TenantId,
    input: &MessengerInput,
    now: Moment,
) -> Result<StoredApp, WidgetError> {
    if let Some(secret) = &input.app_secret {
        let MessengerInput { app_id, app_name, verify_token, .. } = input;
        let app = StoredApp::new(seal, tenant, app_id, app_name.clone(), secret, verify_token.clone(), now);
        // Somebody else may add the same app at this moment; then theirs counts.
        if store::insert_app(&mut *db, &app).await? {
            return Ok(app);
        }
    }
    let app = store::lock_app(&mut *db, tenant, &input.app_id).await?.ok_or_else(unknown_app)?;
    if input.verify_token.as_ref().is_some_and(|it| *it != app.verify_token) {
        return Err(WidgetError::OtherVerifyToken);
    }
    if app.owner == TenantId::PLATFORM {
        return Ok(app);
    }
    let mut app = app;
    if let Some(secret) = &input.app_secret
        && app.open_secret(seal).ok().as_ref() != Some(secret)
    {
        app.app_secret = seal.seal(app.owner, app.id.0, APP_SECRET, secret);
        store::replace_secret(&mut *db, app.owner, app.id, &app.app_secret, now + OLD_SECRET_VALID, now).await?;
    }
    if input.app_name.is_some() && input.app_name != app.app_name {
        app.app_name.clone_from(&input.app_name);
        store::update_app_name(db, app.owner, app.id, input.app_name.as_deref(), now).await?;
    }
    Ok(app)
}

/// Gives an app a new verify token; the old one counts no more.
///
/// # Errors
/// If the database does not answer.
pub async fn rotate_verify_token(db: &mut PgConnection, app: &mut StoredApp, now: Moment) -> sqlx::Result<()> {
    app.verify_token = random_text();
    store::update_verify_token(db, app.owner, app.id, &app.verify_token, now).await
}
