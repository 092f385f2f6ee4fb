//! SQL of the outbox's sending side, of idempotency keys and of profiles.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    channels::messenger::window::Opened,
    clock::Moment,
    ids::{ContactId, MessageId, MetaAppId, RoomId, TenantId, WidgetId},
    rooms::AuthorKind,
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

/// A message claimed for sending.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Claimed {
    pub tenant: TenantId,
    pub room: RoomId,
    pub seq: i64,
    pub message: MessageId,
    pub attempts: i32,
    pub content: serde_json::Value,
    pub author_kind: AuthorKind,
    pub sender_id: String,
    pub opened: Opened,
    pub human_agent: bool,
    pub page: SealedPage,
}

/// Claims the first waiting message of each room, as far as it is due and its Page is connected. A room's next message is not claimed
/// before the one ahead of it is settled.
pub async fn claim_due(db: &PgPool, now: Moment, claimed_until: Moment, limit: i64) -> sqlx::Result<Vec<Claimed>> {
    let rows = sqlx::query!(
        r#"with due as (
            select o.tenant_id, o.room_id, o.seq
            from outbox o
            join widgets w on w.tenant_id = o.tenant_id and w.id = o.widget_id
            where o.state = 'due'
              and o.due_at <= $1
              and w.page_token_state = 'ok'
              and w.page_token is not null
              and not exists (
                select
                from outbox earlier
                where earlier.tenant_id = o.tenant_id and earlier.room_id = o.room_id and earlier.seq < o.seq)
            order by o.due_at, o.seq
            limit $3
            for update of o skip locked
        ), claimed as (
            update outbox o
            set state = 'sending', claimed_until = $2, attempts = o.attempts + 1
            from due
            where o.tenant_id = due.tenant_id and o.room_id = due.room_id and o.seq = due.seq and o.state = 'due'
            returning o.*
        )
        select o.tenant_id, o.room_id, o.seq, o.message_id, o.attempts, o.widget_id, m.content,
            m.author_kind as "author_kind: AuthorKind", c.sender_id, c.last_inbound_at, c.ad_message_at, w.human_agent,
            w.page_id as "page_id!", w.page_token as "page_token!", a.tenant_id as app_owner, a.id as app_id, a.app_secret
        from claimed o
        join messages m on m.tenant_id = o.tenant_id and m.id = o.message_id
        join rooms r on r.tenant_id = o.tenant_id and r.id = o.room_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        join widgets w on w.tenant_id = o.tenant_id and w.id = o.widget_id
        join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id"#,
        now,
        claimed_until,
        limit,
    )
    .fetch_all(db)
    .await?;
    let claimed = rows.into_iter().map(|it| Claimed {
        tenant: TenantId(it.tenant_id),
        room: RoomId(it.room_id),
        seq: it.seq,
        message: MessageId(it.message_id),
        attempts: it.attempts,
        content: it.content,
        author_kind: it.author_kind,
        sender_id: it.sender_id,
        opened: Opened { last_inbound_at: it.last_inbound_at, ad_message_at: it.ad_message_at },
        human_agent: it.human_agent,
        page: SealedPage {
            widget: WidgetId(it.widget_id),
            page_id: it.page_id,
            page_token: it.page_token,
            app_owner: TenantId(it.app_owner),
            app: MetaAppId(it.app_id),
            app_secret: it.app_secret,
        },
    });
    Ok(claimed.collect())
}

/// The send did not happen: again at `due_at`. `counts` is false where it is not the message's fault.
pub async fn mark_due(tx: &mut PgConnection, it: &Claimed, due_at: Moment, counts: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox
        set state = 'due', claimed_until = null, due_at = $4, attempts = attempts - case when $5 then 0 else 1 end
        where tenant_id = $1 and room_id = $2 and seq = $3 and state = 'sending'",
        it.tenant.0,
        it.room.0,
        it.seq,
        due_at,
        counts,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The message leaves the outbox as failed or uncertain, unless an echo settled it meanwhile. True if it was still open.
pub async fn mark_ended(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    status: &str,
    error: &serde_json::Value,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with ended as (
            delete from outbox o
            using messages m
            where m.tenant_id = $1 and m.id = $2 and o.tenant_id = m.tenant_id and o.room_id = m.room_id and o.seq = m.seq
        )
        update messages
        set status = $3, error = $4
        where tenant_id = $1 and id = $2 and external_id is null and status = 'queued'",
        tenant.0,
        message.0,
        status,
        error,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Messages whose sender died with the claim: they may have been sent.
pub async fn list_orphaned(db: &PgPool, now: Moment) -> sqlx::Result<Vec<(TenantId, MessageId, RoomId)>> {
    let rows = sqlx::query!(
        "select tenant_id, message_id, room_id
        from outbox
        where state = 'sending' and claimed_until < $1
        limit 100",
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| (TenantId(it.tenant_id), MessageId(it.message_id), RoomId(it.room_id))).collect())
}

/// The Page's token is refused: its replies wait for a new one. True if that is news.
pub async fn mark_disconnected(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    why: &str,
    now: Moment,
) -> sqlx::Result<bool> {
    let checks = serde_json::json!([{ "name": "page_token", "state": "disconnected", "detail": why, "at": crate::clock::show(now) }]);
    let done = sqlx::query!(
        "update widgets
        set page_token_state = 'dead', health_state = 'disconnected', health_checks = $3, updated_at = $4
        where tenant_id = $1 and id = $2 and page_token_state = 'ok'",
        tenant.0,
        widget.0,
        checks,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
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

/// What a profile says, and the open room that shows it.
pub async fn mark_profile(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    name: Option<&str>,
    first_name: Option<&str>,
    picture_url: Option<&str>,
    now: Moment,
) -> sqlx::Result<Option<RoomId>> {
    sqlx::query!(
        "update contacts
        set name = coalesce(name, $3), first_name = coalesce(first_name, $4), picture_url = $5, updated_at = $6
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        name,
        first_name,
        picture_url,
        now,
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
