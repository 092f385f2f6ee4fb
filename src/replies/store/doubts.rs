//! SQL of messages that may have been sent.

use sqlx::{PgConnection, PgPool};

use super::{SealedPage, send::Claim};
use crate::{
    clock::Moment,
    ids::{MessageId, MetaAppId, RoomId, TenantId, WidgetId},
    rooms::store::receive::{Wanted, look_up},
};

/// Remembers sends in doubt: each with when it was written at the earliest and at the latest.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn insert_doubts(
    tx: &mut PgConnection,
    doubts: &[(Claim, Moment, Moment)],
    look_at: Moment,
) -> sqlx::Result<()> {
    if doubts.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &doubts.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into doubts (tenant_id, message_id, widget_id, sent_after, sent_before, look_at)
        select v.*, $6
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::timestamptz[]) as v
        on conflict on constraint doubts_pk do nothing",
        column!(|it| it.0.tenant.0),
        column!(|it| it.0.message.0),
        column!(|it| it.0.widget.0),
        column!(|it| it.1),
        column!(|it| it.2),
        look_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A send in doubt, with what asking for it needs.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Doubt {
    pub tenant: TenantId,
    pub message: MessageId,
    pub room: RoomId,
    pub content: serde_json::Value,
    pub sender_id: String,
    pub sent_after: Moment,
    pub sent_before: Moment,
    /// Looks before this one.
    pub attempts: i32,
    pub page: SealedPage,
}

/// Forgets doubts that an echo has settled.
pub async fn delete_settled(db: &PgPool, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from doubts d
        using messages m
        where d.look_at <= $1
          and m.tenant_id = d.tenant_id
          and m.id = d.message_id
          and (m.status <> 'uncertain' or m.external_id is not null)",
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Claims doubts that are due, one of each Page at most and none of the `busy` ones; nobody else gets them before `again_at`.
pub async fn claim_doubts(
    db: &PgPool,
    now: Moment,
    again_at: Moment,
    busy: &[WidgetId],
    limit: i64,
) -> sqlx::Result<Vec<Doubt>> {
    let rows = sqlx::query!(
        r#"with first as (
            select distinct on (d.tenant_id, d.widget_id) d.tenant_id, d.message_id
            from doubts d
            join widgets w on w.tenant_id = d.tenant_id and w.id = d.widget_id
            where d.look_at <= $1 and d.widget_id <> all($4) and w.page_token_state = 'ok' and w.page_token is not null
            order by d.tenant_id, d.widget_id, d.look_at
            limit $3
        ), claimed as (
            update doubts d
            set look_at = $2, attempts = d.attempts + 1
            from first
            where d.tenant_id = first.tenant_id and d.message_id = first.message_id and d.look_at <= $1
            returning d.*
        )
        select d.tenant_id, d.message_id, d.sent_after, d.sent_before, d.attempts, d.widget_id, m.room_id, m.content, c.sender_id,
            w.page_id as "page_id!", w.page_token as "page_token!", a.tenant_id as app_owner, a.id as app_id, a.app_secret,
            greatest(w.paused_until, a.paused_until) as paused_until
        from claimed d
        join messages m on m.tenant_id = d.tenant_id and m.id = d.message_id
        join rooms r on r.tenant_id = m.tenant_id and r.id = m.room_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        join widgets w on w.tenant_id = d.tenant_id and w.id = d.widget_id
        join meta_apps a on a.tenant_id = w.meta_app_owner and a.id = w.meta_app_id"#,
        now,
        again_at,
        limit,
        &busy.iter().map(|it| it.0).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    let doubts = rows.into_iter().map(|it| Doubt {
        tenant: TenantId(it.tenant_id),
        message: MessageId(it.message_id),
        room: RoomId(it.room_id),
        content: it.content,
        sender_id: it.sender_id,
        sent_after: it.sent_after,
        sent_before: it.sent_before,
        attempts: it.attempts - 1,
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
    Ok(doubts.collect())
}

/// A claimed doubt whose Page may not be called now: looked at then, as if it had not been claimed.
pub async fn put_back_doubt(db: &PgPool, it: &Doubt, look_at: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update doubts set look_at = $3, attempts = $4 where tenant_id = $1 and message_id = $2",
        it.tenant.0,
        it.message.0,
        look_at,
        it.attempts,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Which of these channel ids belong to messages we have.
pub async fn list_known(db: &PgPool, tenant: TenantId, widget: WidgetId, mids: &[String]) -> sqlx::Result<Vec<String>> {
    let wanted = mids.iter().map(|mid| Wanted { tenant, widget, external_id: Some(mid), sender: None });
    let stored = look_up(&mut *db.acquire().await?, &wanted.collect::<Vec<_>>()).await?;
    Ok(stored.messages.into_keys().map(|it| it.1).collect())
}

/// A message in doubt has not been sent, unless an echo says otherwise meanwhile. True if it was still in doubt.
pub async fn mark_absent(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    error: &serde_json::Value,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update messages
        set status = 'failed', error = $3
        where tenant_id = $1 and id = $2 and status = 'uncertain' and external_id is null",
        tenant.0,
        message.0,
        error,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Looks again at a doubt at another moment.
pub async fn mark_look(db: &PgPool, tenant: TenantId, message: MessageId, look_at: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update doubts set look_at = $3 where tenant_id = $1 and message_id = $2",
        tenant.0,
        message.0,
        look_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The doubt is settled, or given up.
pub async fn delete_doubt(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<()> {
    sqlx::query!("delete from doubts where tenant_id = $1 and message_id = $2", tenant.0, message.0)
        .execute(tx)
        .await?;
    Ok(())
}
