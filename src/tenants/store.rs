//! SQL of tenants.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Status, Tenant, TenantError};
use crate::{clock::Moment, ids::TenantId};

/// A tenant, if there is one.
pub async fn find(db: &PgPool, id: TenantId) -> sqlx::Result<Option<Tenant>> {
    sqlx::query_as!(
        Tenant,
        r#"select id as "id: TenantId", slug, name, status as "status: Status", created_at, updated_at
         from tenants
         where id = $1"#,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// The tenant that a login names by id or slug.
pub async fn find_named(db: &PgPool, name: &str) -> sqlx::Result<Option<Tenant>> {
    sqlx::query_as!(
        Tenant,
        r#"select id as "id: TenantId", slug, name, status as "status: Status", created_at, updated_at
         from tenants
         where id = $1 or slug = $2"#,
        Uuid::try_parse(name).ok(),
        name,
    )
    .fetch_optional(db)
    .await
}

/// A tenant, kept from other changes until the transaction ends.
pub async fn lock(db: &mut PgConnection, id: TenantId) -> sqlx::Result<Option<Tenant>> {
    sqlx::query_as!(
        Tenant,
        r#"select id as "id: TenantId", slug, name, status as "status: Status", created_at, updated_at
         from tenants
         where id = $1
         for no key update"#,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` tenants after the one called `after`.
pub async fn list(db: &PgPool, after: Uuid, limit: i64) -> sqlx::Result<Vec<Tenant>> {
    sqlx::query_as!(
        Tenant,
        r#"select id as "id: TenantId", slug, name, status as "status: Status", created_at, updated_at
         from tenants
         where id > $1
         order by id
         limit $2"#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Adds a tenant.
///
/// # Errors
/// [`TenantError::SlugTaken`]
pub async fn insert(db: &mut PgConnection, tenant: &Tenant) -> Result<(), TenantError> {
    sqlx::query!(
        "insert into tenants (id, slug, name, status, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6)",
        tenant.id.0,
        tenant.slug,
        tenant.name,
        tenant.status.as_str(),
        tenant.created_at,
        tenant.updated_at,
    )
    .execute(db)
    .await
    .map_err(slug_taken)?;
    Ok(())
}

/// Writes what an operator may change.
///
/// # Errors
/// [`TenantError::SlugTaken`]
pub async fn update(db: &mut PgConnection, tenant: &Tenant, now: Moment) -> Result<(), TenantError> {
    sqlx::query!(
        "update tenants
         set slug = $2, name = $3, status = $4, updated_at = $5
         where id = $1",
        tenant.id.0,
        tenant.slug,
        tenant.name,
        tenant.status.as_str(),
        now,
    )
    .execute(db)
    .await
    .map_err(slug_taken)?;
    Ok(())
}

/// Removes a tenant and everything that is its own. False if there was none.
pub async fn delete(db: &mut PgConnection, id: TenantId) -> sqlx::Result<bool> {
    // In the order of the foreign keys; what is not named here goes with what it belongs to.
    sqlx::query!("delete from outbox where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from messages where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from idempotency_keys where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from rooms where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from contacts where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from events where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from pending where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from ledger where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from incoming_chats where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from queues where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from working_hours where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from widgets where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from meta_apps where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from users where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from api_keys where tenant_id = $1", id.0).execute(&mut *db).await?;
    sqlx::query!("delete from audit_log where tenant_id = $1", id.0).execute(&mut *db).await?;
    let done = sqlx::query!("delete from tenants where id = $1", id.0).execute(&mut *db).await?;
    Ok(done.rows_affected() > 0)
}

fn slug_taken(error: sqlx::Error) -> TenantError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("tenants_slug_key") => TenantError::SlugTaken,
        _ => TenantError::Db(error),
    }
}
