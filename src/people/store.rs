//! SQL of users; that of what they come in with is in `credentials`.

mod credentials;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Role,
    users::{AgentStatus, User, UserError},
};
use crate::ids::{TenantId, UserId};

pub use credentials::*;

/// A user of the tenant, if there is one.
pub async fn find_user(db: &PgPool, tenant: TenantId, id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        r#"select u.id as "id: UserId", u.email, u.name, u.roles as "roles: Vec<Role>", a.max_chats, u.active,
             a.status as "status: AgentStatus", a.status_reason, a.status_since, u.created_at, u.updated_at
         from users u
         join agents a on a.tenant_id = u.tenant_id and a.user_id = u.id
         where u.tenant_id = $1 and u.id = $2"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// A user with the agent's row, kept from other changes until the transaction ends.
///
/// The tenant's row is locked first: of two admins who take the role from each other, one must find the other gone.
pub async fn lock_user(db: &mut PgConnection, tenant: TenantId, id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query!("select 1 as one from tenants where id = $1 for no key update", tenant.0)
        .fetch_optional(&mut *db)
        .await?;
    sqlx::query_as!(
        User,
        r#"select u.id as "id: UserId", u.email, u.name, u.roles as "roles: Vec<Role>", a.max_chats, u.active,
             a.status as "status: AgentStatus", a.status_reason, a.status_since, u.created_at, u.updated_at
         from users u
         join agents a on a.tenant_id = u.tenant_id and a.user_id = u.id
         where u.tenant_id = $1 and u.id = $2
         for no key update"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` users after the one called `after`.
pub async fn list_users(db: &PgPool, tenant: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<User>> {
    sqlx::query_as!(
        User,
        r#"select u.id as "id: UserId", u.email, u.name, u.roles as "roles: Vec<Role>", a.max_chats, u.active,
             a.status as "status: AgentStatus", a.status_reason, a.status_since, u.created_at, u.updated_at
         from users u
         join agents a on a.tenant_id = u.tenant_id and a.user_id = u.id
         where u.tenant_id = $1 and u.id > $2
         order by u.id
         limit $3"#,
        tenant.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

pub(super) async fn count_other_admins(db: &mut PgConnection, tenant: TenantId, id: UserId) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!"
         from users
         where tenant_id = $1 and id <> $2 and active and 'admin' = any(roles)"#,
        tenant.0,
        id.0,
    )
    .fetch_one(db)
    .await
}

pub(super) async fn insert_user(
    db: &mut PgConnection,
    tenant: TenantId,
    user: &User,
    password_hash: &str,
) -> Result<(), UserError> {
    sqlx::query!(
        "insert into users (tenant_id, id, email, name, password_hash, roles, active, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        tenant.0,
        user.id.0,
        user.email,
        user.name,
        password_hash,
        &words(&user.roles),
        user.active,
        user.created_at,
        user.updated_at,
    )
    .execute(&mut *db)
    .await
    .map_err(email_taken)?;
    sqlx::query!(
        "insert into agents (tenant_id, user_id, max_chats, status, status_since, idle_since)
         values ($1, $2, $3, $4, $5, $5)",
        tenant.0,
        user.id.0,
        user.max_chats,
        user.status.as_str(),
        user.status_since,
    )
    .execute(&mut *db)
    .await?;
    Ok(())
}

pub(super) async fn update_user(db: &mut PgConnection, tenant: TenantId, user: &User) -> Result<(), UserError> {
    sqlx::query!(
        "update users
         set email = $3, name = $4, roles = $5, active = $6, updated_at = $7
         where tenant_id = $1 and id = $2",
        tenant.0,
        user.id.0,
        user.email,
        user.name,
        &words(&user.roles),
        user.active,
        user.updated_at,
    )
    .execute(&mut *db)
    .await
    .map_err(email_taken)?;
    sqlx::query!(
        "update agents
         set max_chats = $3, status = $4, status_reason = $5, status_since = $6
         where tenant_id = $1 and user_id = $2",
        tenant.0,
        user.id.0,
        user.max_chats,
        user.status.as_str(),
        user.status_reason,
        user.status_since,
    )
    .execute(&mut *db)
    .await?;
    Ok(())
}

pub(super) async fn update_password(
    db: &mut PgConnection,
    tenant: TenantId,
    id: UserId,
    password_hash: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update users
         set password_hash = $3
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
        password_hash,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn delete_memberships(db: &mut PgConnection, tenant: TenantId, id: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from queue_members
         where tenant_id = $1 and user_id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn delete_user(db: &mut PgConnection, tenant: TenantId, id: UserId) -> Result<(), UserError> {
    sqlx::query!(
        "delete from users
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => UserError::HasRooms,
        _ => UserError::Db(error),
    })?;
    Ok(())
}

fn words(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|it| it.as_str().to_owned()).collect()
}

fn email_taken(error: sqlx::Error) -> UserError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("users_email_key") => UserError::EmailTaken,
        _ => UserError::Db(error),
    }
}
