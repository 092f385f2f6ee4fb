//! SQL of widgets; that of Meta apps is in `apps`.

mod apps;

use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    Channel, Messenger, Tags, Widget, WidgetError,
    health::{Check, Health, State},
    texts::Texts,
};
use crate::{
    clock::Moment,
    ids::{MetaAppId, TenantId, WidgetId},
};

pub use apps::*;

/// A widget with its sealed token and its app.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in the table")]
pub struct StoredWidget {
    pub id: WidgetId,
    pub name: String,
    pub channel: Channel,
    pub display_name: String,
    pub color: String,
    pub tags: Tags,
    pub texts: Texts,
    pub human_agent: bool,
    pub plain_only: bool,
    pub page_id: Option<String>,
    pub page_name: Option<String>,
    pub page_token: Option<Vec<u8>>,
    pub page_token_is_dead: bool,
    pub health: Health,
    pub app: StoredApp,
    pub created_at: Moment,
    pub updated_at: Moment,
}

/// A Meta app with its sealed secret.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in the table")]
pub struct StoredApp {
    /// The tenant, or [`TenantId::PLATFORM`].
    pub owner: TenantId,
    pub id: MetaAppId,
    pub app_id: String,
    pub app_name: Option<String>,
    pub key: String,
    pub verify_token: String,
    pub app_secret: Vec<u8>,
    pub verified_at: Option<Moment>,
    pub last_event_at: Option<Moment>,
    pub signature_failures: i64,
    pub signature_failed_at: Option<Moment>,
    pub created_at: Moment,
}

impl StoredWidget {
    /// The Page's id; empty on other channels.
    #[must_use]
    pub fn page_id(&self) -> &str {
        self.page_id.as_deref().unwrap_or_default()
    }

    /// As the API shows it.
    #[must_use]
    pub fn view(&self) -> Widget {
        let messenger = Messenger {
            app_id: self.app.app_id.clone(),
            app_name: self.app.app_name.clone(),
            page_id: self.page_id().to_owned(),
            page_name: self.page_name.clone(),
            human_agent: self.human_agent,
            plain_only: self.plain_only,
            has_app_secret: true,
            has_page_access_token: self.page_token.is_some(),
        };
        Widget {
            id: self.id,
            name: self.name.clone(),
            channel: self.channel,
            display_name: self.display_name.clone(),
            color: self.color.clone(),
            tags: self.tags.clone(),
            texts: self.texts.clone(),
            messenger: Some(messenger),
            health: self.health.clone().with_signatures(&self.app),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

struct Row {
    id: WidgetId,
    name: String,
    channel: Channel,
    display_name: String,
    color: String,
    tags_offered: Vec<String>,
    tags_required: bool,
    texts: Json<Texts>,
    human_agent: bool,
    plain_only: bool,
    page_id: Option<String>,
    page_name: Option<String>,
    page_token: Option<Vec<u8>>,
    page_token_is_dead: bool,
    health_state: State,
    health_checks: Json<Vec<Check>>,
    created_at: Moment,
    updated_at: Moment,
    app_owner: TenantId,
    app_row: MetaAppId,
    app_id: String,
    app_name: Option<String>,
    key: String,
    verify_token: String,
    app_secret: Vec<u8>,
    verified_at: Option<Moment>,
    last_event_at: Option<Moment>,
    signature_failures: i64,
    signature_failed_at: Option<Moment>,
    app_created_at: Moment,
}

impl From<Row> for StoredWidget {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            channel: row.channel,
            display_name: row.display_name,
            color: row.color,
            tags: Tags { offered: row.tags_offered, required: row.tags_required },
            texts: row.texts.0,
            human_agent: row.human_agent,
            plain_only: row.plain_only,
            page_id: row.page_id,
            page_name: row.page_name,
            page_token: row.page_token,
            page_token_is_dead: row.page_token_is_dead,
            health: Health { state: row.health_state, checks: row.health_checks.0 },
            app: StoredApp {
                owner: row.app_owner,
                id: row.app_row,
                app_id: row.app_id,
                app_name: row.app_name,
                key: row.key,
                verify_token: row.verify_token,
                app_secret: row.app_secret,
                verified_at: row.verified_at,
                last_event_at: row.last_event_at,
                signature_failures: row.signature_failures,
                signature_failed_at: row.signature_failed_at,
                created_at: row.app_created_at,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The columns of a [`Row`] with one tail or another, so that they are written once.
macro_rules! select_widgets {
    ($tail:tt, $($value:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select w.id as "id: WidgetId", w.name, w.channel as "channel: Channel", w.display_name, w.color, w.tags_offered,
                 w.tags_required, w.texts as "texts: Json<Texts>", w.human_agent, w.plain_only, w.page_id, w.page_name, w.page_token,
                 w.page_token_state = 'dead' as "page_token_is_dead!", w.health_state as "health_state: State",
                 w.health_checks as "health_checks: Json<Vec<Check>>", w.created_at, w.updated_at,
                 a.tenant_id as "app_owner: TenantId", a.id as "app_row: MetaAppId", a.app_id, a.app_name, a.key, a.verify_token,
                 a.app_secret, a.verified_at, a.last_event_at, a.signature_failures, a.signature_failed_at,
                 a.created_at as app_created_at
               from widgets w
               join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id "# + $tail,
            $($value),*
        )
    };
}

/// A widget of the tenant, if there is one.
pub async fn find_widget(db: &PgPool, tenant: TenantId, id: WidgetId) -> sqlx::Result<Option<StoredWidget>> {
    let row = select_widgets!("where w.tenant_id = $1 and w.id = $2", tenant.0, id.0);
    Ok(row.fetch_optional(db).await?.map(Into::into))
}

/// A widget, kept from other changes until the transaction ends.
pub async fn lock_widget(db: &mut PgConnection, tenant: TenantId, id: WidgetId) -> sqlx::Result<Option<StoredWidget>> {
    let row = select_widgets!("where w.tenant_id = $1 and w.id = $2 for no key update of w", tenant.0, id.0);
    Ok(row.fetch_optional(db).await?.map(Into::into))
}

/// Up to `limit` widgets after the one called `after`.
pub async fn list_widgets(db: &PgPool, tenant: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<StoredWidget>> {
    let rows = select_widgets!("where w.tenant_id = $1 and w.id > $2 order by w.id limit $3", tenant.0, after, limit);
    Ok(rows.fetch_all(db).await?.into_iter().map(Into::into).collect())
}

pub(super) async fn insert_widget(
    db: &mut PgConnection,
    tenant: TenantId,
    widget: &StoredWidget,
) -> Result<(), WidgetError> {
    sqlx::query!(
        "insert into widgets (tenant_id, id, channel, name, display_name, color, tags_offered, tags_required, texts, human_agent,
           meta_app_owner, meta_app_id, page_id, page_name, page_token, created_at, updated_at, plain_only)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        tenant.0,
        widget.id.0,
        widget.channel.as_str(),
        widget.name,
        widget.display_name,
        widget.color,
        &widget.tags.offered,
        widget.tags.required,
        Json(&widget.texts) as _,
        widget.human_agent,
        widget.app.owner.0,
        widget.app.id.0,
        widget.page_id,
        widget.page_name,
        widget.page_token,
        widget.created_at,
        widget.updated_at,
        widget.plain_only,
    )
    .execute(db)
    .await
    .map_err(refused)?;
    Ok(())
}

pub(super) async fn update_widget(
    db: &mut PgConnection,
    tenant: TenantId,
    widget: &StoredWidget,
) -> Result<(), WidgetError> {
    sqlx::query!(
        "update widgets
         set name = $3, display_name = $4, color = $5, tags_offered = $6, tags_required = $7, texts = $8, human_agent = $9,
           meta_app_owner = $10, meta_app_id = $11, page_token = $12, page_token_state = $13, health_state = $14,
           health_checks = $15, updated_at = $16, plain_only = $17
         where tenant_id = $1 and id = $2",
        tenant.0,
        widget.id.0,
        widget.name,
        widget.display_name,
        widget.color,
        &widget.tags.offered,
        widget.tags.required,
        Json(&widget.texts) as _,
        widget.human_agent,
        widget.app.owner.0,
        widget.app.id.0,
        widget.page_token,
        if widget.page_token_is_dead { "dead" } else { "ok" },
        widget.health.state.as_str(),
        Json(&widget.health.checks) as _,
        widget.updated_at,
        widget.plain_only,
    )
    .execute(db)
    .await
    .map_err(refused)?;
    Ok(())
}

/// The id at Meta of the app that a Page hangs on.
pub async fn find_app_id(db: &mut PgConnection, tenant: TenantId, widget: WidgetId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "select a.app_id
         from widgets w
         join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id
         where w.tenant_id = $1 and w.id = $2",
        tenant.0,
        widget.0,
    )
    .fetch_optional(db)
    .await
}

/// Writes what a check found about the token that is (still) this one.
pub async fn update_health(
    db: &mut PgConnection,
    tenant: TenantId,
    widget: &StoredWidget,
    health: &Health,
    token_accepted: Option<bool>,
    page_name: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update widgets
         set health_state = $4, health_checks = $5, page_token_state = coalesce($6, page_token_state),
           page_name = coalesce($7, page_name)
         where tenant_id = $1 and id = $2 and page_token is not distinct from $3",
        tenant.0,
        widget.id.0,
        widget.page_token,
        health.state.as_str(),
        Json(&health.checks) as _,
        token_accepted.map(|it| if it { "ok" } else { "dead" }),
        page_name,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a widget and its incoming chat. False if there was none.
///
/// # Errors
/// [`WidgetError::HasRooms`] if anybody ever wrote to it.
pub async fn delete_widget(db: &mut PgConnection, tenant: TenantId, id: WidgetId) -> Result<bool, WidgetError> {
    let done = sqlx::query!(
        "delete from widgets
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => WidgetError::HasRooms,
        _ => WidgetError::Db(error),
    })?;
    Ok(done.rows_affected() > 0)
}

fn refused(error: sqlx::Error) -> WidgetError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("widgets_page_key") => WidgetError::PageTaken,
        _ => WidgetError::Db(error),
    }
}
