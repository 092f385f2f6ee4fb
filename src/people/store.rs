//! SQL of users, sessions, API keys and operator tokens.

use chrono::TimeDelta;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Role,
    keys::{ApiKey, Scope},
    users::{AgentStatus, User, UserError},
};
use crate::{
    clock::Moment,
    ids::{KeyId, TenantId, UserId},
};

/// How exactly the use of a key is remembered; a write for each request would be too many.
pub(super) const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

pub(super) struct FoundSession {
    pub user_id: UserId,
    pub name: String,
    pub roles: Vec<Role>,
    pub suspended: bool,
}

pub(super) struct FoundKey {
    pub id: KeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub last_used_at: Option<Moment>,
    pub suspended: bool,
}

pub(super) struct LoginUser {
    pub id: UserId,
    pub password_hash: String,
    pub active: bool,
}

pub(super) async fn is_operator_token(db: &PgPool, hash: &[u8; 32]) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!("select 1 as one from operator_tokens where token_hash = $1", hash);
    Ok(found.fetch_optional(db).await?.is_some())
}

pub(super) async fn insert_operator_token(db: &PgPool, hash: &[u8; 32], name: &str, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into operator_tokens (token_hash, name, created_at)
         values ($1, $2, $3)
         on conflict do nothing",
        hash,
        name,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn find_session(
    db: &PgPool,
    tenant: TenantId,
    hash: &[u8; 32],
    now: Moment,
) -> sqlx::Result<Option<FoundSession>> {
    sqlx::query_as!(
        FoundSession,
        r#"select s.user_id as "user_id: UserId", u.name, u.roles as "roles: Vec<Role>", t.status = 'suspended' as "suspended!"
         from sessions s
         join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
         join tenants t on t.id = s.tenant_id
         where s.tenant_id = $1 and s.token_hash = $2 and s.expires_at > $3 and u.active"#,
        tenant.0,
        hash,
        now,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn insert_session(
    db: &PgPool,
    tenant: TenantId,
    hash: &[u8; 32],
    user: UserId,
    now: Moment,
    expires_at: Moment,
) -> sqlx::Result<()> {
    // What has ended goes when the user comes back.
    sqlx::query!(
        "delete from sessions
         where tenant_id = $1 and user_id = $2 and expires_at <= $3",
        tenant.0,
        user.0,
        now,
    )
    .execute(db)
    .await?;
    sqlx::query!(
        "insert into sessions (tenant_id, token_hash, user_id, created_at, expires_at)
         values ($1, $2, $3, $4, $5)",
        tenant.0,
        hash,
        user.0,
        now,
        expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn delete_session(db: &PgPool, tenant: TenantId, hash: &[u8; 32]) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from sessions
         where tenant_id = $1 and token_hash = $2",
        tenant.0,
        hash,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn delete_sessions(
    db: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    kept: Option<&[u8; 32]>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from sessions
         where tenant_id = $1 and user_id = $2 and token_hash is distinct from $3",
        tenant.0,
        user.0,
        kept.map(|it| &it[..]),
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn find_for_login(db: &PgPool, tenant: TenantId, email: &str) -> sqlx::Result<Option<LoginUser>> {
    sqlx::query_as!(
        LoginUser,
        r#"select id as "id: UserId", password_hash, active
         from users
         where tenant_id = $1 and lower(email) = lower($2)"#,
        tenant.0,
        email,
    )
    .fetch_optional(db)
    .await
}

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

pub(super) async fn find_key(db: &PgPool, tenant: TenantId, hash: &[u8; 32]) -> sqlx::Result<Option<FoundKey>> {
    sqlx::query_as!(
        FoundKey,
        r#"select k.id as "id: KeyId", k.name, k.scopes as "scopes: Vec<Scope>", k.last_used_at, t.status = 'suspended' as "suspended!"
         from api_keys k
         join tenants t on t.id = k.tenant_id
         where k.tenant_id = $1 and k.key_hash = $2"#,
        tenant.0,
        hash,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn mark_key_used(db: &PgPool, tenant: TenantId, id: KeyId, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update api_keys
         set last_used_at = $3
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn insert_key(
    db: &mut PgConnection,
    tenant: TenantId,
    key: &ApiKey,
    hash: &[u8; 32],
) -> sqlx::Result<()> {
    let scopes: Vec<String> = key.scopes.iter().map(|it| it.as_str().to_owned()).collect();
    sqlx::query!(
        "insert into api_keys (tenant_id, id, name, scopes, key_hash, created_at)
         values ($1, $2, $3, $4, $5, $6)",
        tenant.0,
        key.id.0,
        key.name,
        &scopes,
        hash,
        key.created_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` keys after the one called `after`.
pub async fn list_keys(db: &PgPool, tenant: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<ApiKey>> {
    sqlx::query_as!(
        ApiKey,
        r#"select id as "id: KeyId", name, scopes as "scopes: Vec<Scope>", created_at, last_used_at
         from api_keys
         where tenant_id = $1 and id > $2
         order by id
         limit $3"#,
        tenant.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Revokes a key. False if there was none.
pub async fn delete_key(db: &mut PgConnection, tenant: TenantId, id: KeyId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "delete from api_keys
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
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

/// Forgets sessions that have ended.
pub async fn delete_expired_sessions(db: &PgPool, now: Moment) -> sqlx::Result<()> {
    sqlx::query!("delete from sessions where expires_at < $1", now).execute(db).await?;
    Ok(())
}
