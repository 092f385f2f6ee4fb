//! SQL of sessions, API keys and operator tokens.

use chrono::TimeDelta;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{KeyId, TenantId, UserId},
    people::{
        Role,
        keys::{ApiKey, Scope},
    },
};

/// How exactly the use of a key is remembered; a write for each request would be too many.
pub(in crate::people) const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

pub(in crate::people) struct FoundSession {
    pub user_id: UserId,
    pub name: String,
    pub roles: Vec<Role>,
    pub expires_at: Moment,
    pub suspended: bool,
}

pub(in crate::people) struct FoundKey {
    pub id: KeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub last_used_at: Option<Moment>,
    pub suspended: bool,
}

pub(in crate::people) struct LoginUser {
    pub id: UserId,
    pub password_hash: String,
    pub active: bool,
}

pub(in crate::people) async fn is_operator_token(db: &PgPool, hash: &[u8; 32]) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!("select 1 as one from operator_tokens where token_hash = $1", hash);
    Ok(found.fetch_optional(db).await?.is_some())
}

pub(in crate::people) async fn insert_operator_token(
    db: &PgPool,
    hash: &[u8; 32],
    name: &str,
    now: Moment,
) -> sqlx::Result<()> {
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

pub(in crate::people) async fn find_session(
    db: &PgPool,
    tenant: TenantId,
    hash: &[u8; 32],
    now: Moment,
) -> sqlx::Result<Option<FoundSession>> {
    sqlx::query_as!(
        FoundSession,
        r#"select s.user_id as "user_id: UserId", u.name, u.roles as "roles: Vec<Role>", s.expires_at,
             t.status = 'suspended' as "suspended!"
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

pub(in crate::people) async fn insert_session(
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

pub(in crate::people) async fn delete_session(db: &PgPool, tenant: TenantId, hash: &[u8; 32]) -> sqlx::Result<()> {
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

pub(in crate::people) async fn delete_sessions(
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

pub(in crate::people) async fn find_for_login(
    db: &PgPool,
    tenant: TenantId,
    email: &str,
) -> sqlx::Result<Option<LoginUser>> {
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

pub(in crate::people) async fn find_key(
    db: &PgPool,
    tenant: TenantId,
    hash: &[u8; 32],
) -> sqlx::Result<Option<FoundKey>> {
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

pub(in crate::people) async fn mark_key_used(
    db: &PgPool,
    tenant: TenantId,
    id: KeyId,
    now: Moment,
) -> sqlx::Result<()> {
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

pub(in crate::people) async fn insert_key(
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

/// Forgets sessions that have ended.
pub async fn delete_expired_sessions(db: &PgPool, now: Moment) -> sqlx::Result<()> {
    sqlx::query!("delete from sessions where expires_at < $1", now).execute(db).await?;
    Ok(())
}
