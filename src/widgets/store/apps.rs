//! SQL of Meta apps.

use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::StoredApp;
use crate::{
    clock::Moment,
    ids::{MetaAppId, TenantId},
    widgets::WidgetError,
};

/// The columns of a [`StoredApp`] with one tail or another.
macro_rules! select_apps {
    ($tail:tt, $($value:expr),*) => {
        sqlx::query_as!(
            StoredApp,
            r#"select tenant_id as "owner: TenantId", id as "id: MetaAppId", app_id, app_name, key, verify_token, app_secret,
                 verified_at, last_event_at, signature_failures, signature_failed_at, created_at
               from meta_apps "# + $tail,
            $($value),*
        )
    };
}

/// The app that a tenant means by Meta's id: its own before the operator's.
pub async fn find_app(db: &PgPool, tenant: TenantId, app_id: &str) -> sqlx::Result<Option<StoredApp>> {
    let tail = select_apps!(
        "where tenant_id in ($1, '00000000-0000-0000-0000-000000000000') and app_id = $2
         order by tenant_id desc
         limit 1",
        tenant.0,
        app_id
    );
    tail.fetch_optional(db).await
}

/// As [`find_app`], kept from other changes until the transaction ends.
pub(in crate::widgets) async fn lock_app(
    db: impl PgExecutor<'_>,
    tenant: TenantId,
    app_id: &str,
) -> sqlx::Result<Option<StoredApp>> {
    let tail = select_apps!(
        "where tenant_id in ($1, '00000000-0000-0000-0000-000000000000') and app_id = $2
         order by tenant_id desc
         limit 1
         for no key update",
        tenant.0,
        app_id
    );
    tail.fetch_optional(db).await
}

/// Up to `limit` apps of an owner after the one called `after`.
pub async fn list_apps(db: &PgPool, owner: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<StoredApp>> {
    select_apps!("where tenant_id = $1 and id > $2 order by id limit $3", owner.0, after, limit).fetch_all(db).await
}

pub(in crate::widgets) async fn insert_app(db: &mut PgConnection, app: &StoredApp) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into meta_apps (tenant_id, id, app_id, app_name, key, verify_token, app_secret, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         on conflict on constraint meta_apps_app_key do nothing",
        app.owner.0,
        app.id.0,
        app.app_id,
        app.app_name,
        app.key,
        app.verify_token,
        app.app_secret,
        app.created_at,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(in crate::widgets) async fn replace_secret(
    db: &mut PgConnection,
    owner: TenantId,
    id: MetaAppId,
    app_secret: &[u8],
    previous_until: Moment,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update meta_apps
         set previous_app_secret = app_secret, previous_until = $4, app_secret = $3, updated_at = $5
         where tenant_id = $1 and id = $2",
        owner.0,
        id.0,
        app_secret,
        previous_until,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(in crate::widgets) async fn update_app_name(
    db: &mut PgConnection,
    owner: TenantId,
    id: MetaAppId,
    app_name: Option<&str>,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update meta_apps
         set app_name = $3, updated_at = $4
         where tenant_id = $1 and id = $2",
        owner.0,
        id.0,
        app_name,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(in crate::widgets) async fn update_verify_token(
    db: &mut PgConnection,
    owner: TenantId,
    id: MetaAppId,
    verify_token: &str,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update meta_apps
         set verify_token = $3, verified_at = null, updated_at = $4
         where tenant_id = $1 and id = $2",
        owner.0,
        id.0,
        verify_token,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes an app. False if there was none.
///
/// # Errors
/// [`WidgetError::AppInUse`] while widgets hang on it.
pub async fn delete_app(db: &mut PgConnection, owner: TenantId, id: MetaAppId) -> Result<bool, WidgetError> {
    let done = sqlx::query!(
        "delete from meta_apps
         where tenant_id = $1 and id = $2",
        owner.0,
        id.0,
    )
    .execute(db)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => WidgetError::AppInUse,
        _ => WidgetError::Db(error),
    })?;
    Ok(done.rows_affected() > 0)
}
