//! SQL of idempotency keys and of profiles; the outbox's sending side and sends in doubt have files of their own.

pub mod doubts;
pub mod resend;
pub mod send;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{ContactId, MetaAppId, RoomId, TenantId, WidgetId},
};

/// The hash and first answer of a key used since then.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_key(
    tx: &mut PgConnection,
    tenant: TenantId,
    caller: Uuid,
    key: &str,
    since: Moment,
) -> sqlx::Result<Option<(Vec<u8>, serde_json::Value)>> {
    let row = sqlx::query!(
        "select body_hash, answer
        from idempotency_keys
        where tenant_id = $1 and caller_id = $2 and key = $3 and created_at > $4",
        tenant.0,
        caller,
        key,
        since,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| (it.body_hash, it.answer)))
}

/// Remembers a key; one that is too old to count is used anew.
pub async fn insert_key(
    tx: &mut PgConnection,
    tenant: TenantId,
    caller: Uuid,
    key: &str,
    hash: &[u8],
    answer: &serde_json::Value,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into idempotency_keys (tenant_id, caller_id, key, body_hash, answer, created_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict on constraint idempotency_keys_pk
        do update set body_hash = excluded.body_hash, answer = excluded.answer, created_at = excluded.created_at",
        tenant.0,
        caller,
        key,
        hash,
        answer,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A Page's secrets, sealed.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct SealedPage {
    pub widget: WidgetId,
    pub page_id: String,
    pub page_token: Vec<u8>,
    pub app_owner: TenantId,
    pub app: MetaAppId,
    pub app_secret: Vec<u8>,
}

/// What a sender action (typing, seen) needs.
pub async fn find_page(db: &PgPool, tenant: TenantId, room: RoomId) -> sqlx::Result<Option<(String, SealedPage)>> {
    let row = sqlx::query!(
        r#"select c.sender_id, w.id as widget_id, w.page_id as "page_id!", w.page_token as "page_token!",
            a.tenant_id as app_owner, a.id as app_id, a.app_secret
        from rooms r
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id
        where r.tenant_id = $1 and r.id = $2 and w.page_token_state = 'ok' and w.page_token is not null"#,
        tenant.0,
        room.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|it| {
        let page = SealedPage {
            widget: WidgetId(it.widget_id),
            page_id: it.page_id,
            page_token: it.page_token,
            app_owner: TenantId(it.app_owner),
            app: MetaAppId(it.app_id),
            app_secret: it.app_secret,
        };
        (it.sender_id, page)
    }))
}

/// A contact whose profile has never been asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Nameless {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub sender_id: String,
    pub page: SealedPage,
}

/// Claims contacts without a profile: each is asked for once.
pub async fn claim_nameless(db: &PgPool, now: Moment, limit: i64) -> sqlx::Result<Vec<Nameless>> {
    let rows = sqlx::query!(
        r#"with nameless as (
            select c.tenant_id, c.id
            from contacts c
            where c.profile_at is null and c.last_inbound_at is not null
            order by c.created_at
            limit $2
            for update skip locked
        ), claimed as (
            update contacts c
            set profile_at = $1
            from nameless n
            where c.tenant_id = n.tenant_id and c.id = n.id
            returning c.tenant_id, c.id, c.sender_id, c.widget_id
        )
        select c.tenant_id, c.id, c.sender_id, c.widget_id, w.page_id as "page_id!", w.page_token as "page_token!",
            a.tenant_id as app_owner, a.id as app_id, a.app_secret
        from claimed c
        join widgets w on w.tenant_id = c.tenant_id and w.id = c.widget_id
        join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id
        where w.page_token_state = 'ok' and w.page_token is not null"#,
        now,
        limit,
    )
    .fetch_all(db)
    .await?;
    let nameless = rows.into_iter().map(|it| Nameless {
        tenant: TenantId(it.tenant_id),
        contact: ContactId(it.id),
        sender_id: it.sender_id,
        page: SealedPage {
            widget: WidgetId(it.widget_id),
            page_id: it.page_id,
            page_token: it.page_token,
            app_owner: TenantId(it.app_owner),
            app: MetaAppId(it.app_id),
            app_secret: it.app_secret,
        },
    });
    Ok(nameless.collect())
}

/// What a profile says.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Told<'a> {
    pub name: Option<&'a str>,
    pub first_name: Option<&'a str>,
    pub picture_url: Option<&'a str>,
    pub locale: Option<&'a str>,
}

/// Notes what a profile says; the newest room, which shows it.
pub async fn mark_profile(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    told: &Told<'_>,
    now: Moment,
) -> sqlx::Result<Option<RoomId>> {
    sqlx::query!(
        "update contacts
        set name = coalesce(name, $3), first_name = coalesce(first_name, $4), picture_url = $5, locale = coalesce(locale, $7), updated_at = $6
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        told.name,
        told.first_name,
        told.picture_url,
        now,
        told.locale,
    )
    .execute(&mut *tx)
    .await?;
    let room = sqlx::query_scalar!(
        "select id from rooms where tenant_id = $1 and contact_id = $2 order by id desc limit 1",
        tenant.0,
        contact.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(room.map(RoomId))
}

/// Forgets idempotency keys from before then.
pub async fn delete_old_keys(db: &PgPool, before: Moment) -> sqlx::Result<()> {
    sqlx::query!("delete from idempotency_keys where created_at < $1", before).execute(db).await?;
    Ok(())
}
