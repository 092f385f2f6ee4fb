//! SQL of idempotency keys and of profiles; the outbox's sending side and sends in doubt have files of their own.

pub mod doubts;
pub mod resend;
pub mod send;

use std::collections::HashMap;

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

/// A key, whose it is: tenant and caller.
pub type CallersKey<'a> = (TenantId, Uuid, &'a str);

/// A key to be remembered.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct NewKey<'a> {
    pub key: CallersKey<'a>,
    pub hash: &'a [u8],
    pub answer: serde_json::Value,
}

/// The hashes and first answers of those keys that were used since then.
pub async fn find_keys<'a>(
    tx: &mut PgConnection,
    keys: &[CallersKey<'a>],
    since: Moment,
) -> sqlx::Result<HashMap<CallersKey<'a>, (Vec<u8>, serde_json::Value)>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"select wanted.nth as "nth!", k.body_hash, k.answer
        from unnest($1::uuid[], $2::uuid[], $3::text[]) with ordinality as wanted (tenant_id, caller_id, key, nth)
        join idempotency_keys k
          on k.tenant_id = wanted.tenant_id and k.caller_id = wanted.caller_id and k.key = wanted.key and k.created_at > $4"#,
        &keys.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &keys.iter().map(|it| it.1).collect::<Vec<_>>(),
        &keys.iter().map(|it| it.2).collect::<Vec<_>>() as &[&str],
        since,
    )
    .fetch_all(tx)
    .await?;
    let known = rows.into_iter().filter_map(|it| {
        let key = usize::try_from(it.nth - 1).ok().and_then(|nth| keys.get(nth))?;
        Some((*key, (it.body_hash, it.answer)))
    });
    Ok(known.collect())
}

/// Remembers keys, each once; those that are too old to count are used anew.
pub async fn insert_keys(tx: &mut PgConnection, keys: &[NewKey<'_>], now: Moment) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into idempotency_keys (tenant_id, caller_id, key, body_hash, answer, created_at)
        select new.*, $6
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::jsonb[]) as new
        on conflict on constraint idempotency_keys_pk
        do update set body_hash = excluded.body_hash, answer = excluded.answer, created_at = excluded.created_at",
        &keys.iter().map(|it| it.key.0.0).collect::<Vec<_>>(),
        &keys.iter().map(|it| it.key.1).collect::<Vec<_>>(),
        &keys.iter().map(|it| it.key.2).collect::<Vec<_>>() as &[&str],
        &keys.iter().map(|it| it.hash).collect::<Vec<_>>() as &[&[u8]],
        &keys.iter().map(|it| it.answer.clone()).collect::<Vec<_>>(),
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
    /// When Page and app may be called again.
    pub paused_until: Option<Moment>,
}

/// What a sender action (typing, seen) needs.
pub async fn find_page(db: &PgPool, tenant: TenantId, room: RoomId) -> sqlx::Result<Option<(String, SealedPage)>> {
    let row = sqlx::query!(
        r#"select c.sender_id, w.id as widget_id, w.page_id as "page_id!", w.page_token as "page_token!",
            a.tenant_id as app_owner, a.id as app_id, a.app_secret, greatest(w.paused_until, a.paused_until) as paused_until
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
            paused_until: it.paused_until,
        };
        (it.sender_id, page)
    }))
}

/// A contact whose profile is to be asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Unasked {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub sender_id: String,
    pub failures: i32,
    pub page: SealedPage,
}

/// Claims contacts whose profile was never asked for, or is due again, but none of the `busy` Pages. Whoever dies with the claim, or
/// finds the Page without a token, leaves them due at `again_at`.
pub async fn claim_unasked(
    db: &PgPool,
    now: Moment,
    again_at: Moment,
    busy: &[WidgetId],
    limit: i64,
) -> sqlx::Result<Vec<Unasked>> {
    let rows = sqlx::query!(
        r#"with wanted as (
            (select tenant_id, id
             from contacts
             where profile_at is null and last_inbound_at is not null and widget_id <> all($4)
             order by created_at
             limit $3)
            union all
            (select tenant_id, id
             from contacts
             where profile_due_at <= $1 and widget_id <> all($4)
             order by profile_due_at
             limit $3)
        ), locked as (
            select c.tenant_id, c.id
            from contacts c
            join wanted w on w.tenant_id = c.tenant_id and w.id = c.id
            where c.profile_at is null or c.profile_due_at <= $1
            limit $3
            for update of c skip locked
        ), claimed as (
            update contacts c
            set profile_at = $1, profile_due_at = $2
            from locked l
            where c.tenant_id = l.tenant_id and c.id = l.id
            returning c.tenant_id, c.id, c.sender_id, c.widget_id, c.profile_failures
        )
        select c.tenant_id, c.id, c.sender_id, c.widget_id, c.profile_failures, w.page_id as "page_id!", w.page_token as "page_token!",
            a.tenant_id as app_owner, a.id as app_id, a.app_secret, greatest(w.paused_until, a.paused_until) as paused_until
        from claimed c
        join widgets w on w.tenant_id = c.tenant_id and w.id = c.widget_id
        join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id
        where w.page_token_state = 'ok' and w.page_token is not null"#,
        now,
        again_at,
        limit,
        &busy.iter().map(|it| it.0).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    let unasked = rows.into_iter().map(|it| Unasked {
        tenant: TenantId(it.tenant_id),
        contact: ContactId(it.id),
        sender_id: it.sender_id,
        failures: it.profile_failures,
        page: SealedPage {
            widget: WidgetId(it.widget_id),
            page_id: it.page_id,
            page_token: it.page_token,
            app_owner: TenantId(it.app_owner),
            app: MetaAppId(it.app_id),
            app_secret: it.app_secret,
            paused_until: it.paused_until,
        },
    });
    Ok(unasked.collect())
}

/// Claimed contacts whose Pages may not be called now: each is due at its moment, as if it had not been claimed.
pub async fn put_back_unasked(db: &PgPool, later: &[(TenantId, ContactId, Moment)]) -> sqlx::Result<()> {
    if later.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with locked as (
            select c.tenant_id, c.id, v.due_at
            from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as v (tenant_id, id, due_at)
            join contacts c on c.tenant_id = v.tenant_id and c.id = v.id
            order by c.tenant_id, c.id
            for update of c
        )
        update contacts c
        set profile_due_at = l.due_at
        from locked l
        where c.tenant_id = l.tenant_id and c.id = l.id",
        &later.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &later.iter().map(|it| it.1.0).collect::<Vec<_>>(),
        &later.iter().map(|it| it.2).collect::<Vec<_>>(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Nobody knows the profile now; asked for again then, or not before the contact opens a room long after.
pub async fn mark_unknown(db: &PgPool, it: &Unasked, again_at: Option<Moment>, failures: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts set profile_due_at = $3, profile_failures = $4 where tenant_id = $1 and id = $2",
        it.tenant.0,
        it.contact.0,
        again_at,
        failures,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a profile says. Names that people have corrected stay. The newest room that shows the contact, if that is news to it.
pub async fn mark_profile(
    tx: &mut PgConnection,
    it: &Unasked,
    name: Option<&str>,
    first_name: Option<&str>,
    locale: Option<&str>,
    now: Moment,
) -> sqlx::Result<Option<RoomId>> {
    let changed = sqlx::query_scalar!(
        r#"with was as (
            select name, first_name
            from contacts
            where tenant_id = $1 and id = $2
            for update
        ), updated as (
            update contacts
            set name = case when name is null or name = profile_name then coalesce($3, name) else name end,
                first_name = case when first_name is null or first_name = profile_first_name then coalesce($4, first_name)
                    else first_name end,
                profile_name = coalesce($3, profile_name), profile_first_name = coalesce($4, profile_first_name),
                locale = coalesce(locale, $6),
                profile_due_at = null, profile_failures = 0, updated_at = $5
            where tenant_id = $1 and id = $2
            returning name, first_name
        )
        select was.name is distinct from updated.name or was.first_name is distinct from updated.first_name as "changed!"
        from was, updated"#,
        it.tenant.0,
        it.contact.0,
        name,
        first_name,
        now,
        locale,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if changed != Some(true) {
        return Ok(None);
    }
    let room = sqlx::query_scalar!(
        "select id from rooms where tenant_id = $1 and contact_id = $2 order by id desc limit 1",
        it.tenant.0,
        it.contact.0,
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
