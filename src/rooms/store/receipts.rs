//! SQL of receipts.

use sqlx::PgConnection;

use crate::{
    clock::Moment,
    ids::{MessageId, RoomId, TenantId, UserId},
    rooms::receipts::{Changed, Receipt},
};

/// Marks an outbound message as accepted by the channel. None if it is no outbound message of the tenant or has its external id.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn mark_sent(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    external_id: &str,
    echoed_at: Option<Moment>,
    now: Moment,
) -> sqlx::Result<Option<Changed>> {
    let row = sqlx::query!(
        "update messages
        set status = 'sent', external_id = $3, external_at = coalesce($4, external_at), sent_at = coalesce(sent_at, $5), error = null
        where tenant_id = $1 and id = $2 and direction = 'outbound' and external_id is null
        returning room_id",
        tenant.0,
        message.0,
        external_id,
        echoed_at,
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| Changed { message, room: RoomId(it.room_id) }))
}

/// The echo of a message that is settled already brings the channel's time.
pub async fn mark_echoed_at(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    at: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update messages
        set external_at = $3
        where tenant_id = $1 and id = $2 and direction = 'outbound' and external_at is null",
        tenant.0,
        message.0,
        at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The message is no longer on its way.
pub async fn delete_outbox(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from outbox o
        using messages m
        where m.tenant_id = $1 and m.id = $2 and o.tenant_id = m.tenant_id and o.room_id = m.room_id and o.seq = m.seq",
        tenant.0,
        message.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Marks outbound messages of a contact as delivered or read; never backwards, and nothing older than the contact's newest rooms.
pub async fn mark_receipt(tx: &mut PgConnection, receipt: &Receipt, is_read: bool) -> sqlx::Result<Vec<Changed>> {
    // One of these two: named messages need no look at the contact's rooms.
    let rows = sqlx::query!(
        "with named as (
            select m.tenant_id, m.id
            from unnest($4::text[]) as wanted (external_id)
            join messages m
              on m.tenant_id = $1
             and m.widget_id = $2
             and hashtextextended(m.external_id, 0) = hashtextextended(wanted.external_id, 0)
             and hashtextextended(m.external_id, 1) = hashtextextended(wanted.external_id, 1)
             and m.external_id = wanted.external_id
        ), passed as (
            select m.tenant_id, m.id
            from contacts c
            cross join lateral (
                select r.id
                from rooms r
                where r.tenant_id = c.tenant_id and r.contact_id = c.id
                order by r.id desc
                limit 3) as r
            join messages m on m.tenant_id = c.tenant_id and m.room_id = r.id
            where c.tenant_id = $1
              and c.widget_id = $2
              and c.sender_id = $3
              and coalesce(m.external_at, m.sent_at) <= $5
        )
        update messages m
        set status = case when $6 then 'read' else 'delivered' end,
            delivered_at = coalesce(m.delivered_at, $7),
            read_at = case when $6 then $7 else m.read_at end
        from (select * from named union select * from passed) as hit
        where m.tenant_id = hit.tenant_id
          and m.id = hit.id
          and m.direction = 'outbound'
          and (m.status = 'sent' or ($6 and m.status = 'delivered'))
        returning m.id, m.room_id",
        receipt.tenant.0,
        receipt.widget.0,
        receipt.sender,
        &receipt.external_ids,
        receipt.watermark,
        is_read,
        receipt.at,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| Changed { message: MessageId(it.id), room: RoomId(it.room_id) }).collect())
}

/// Who holds a room.
pub async fn find_holder(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> sqlx::Result<Option<UserId>> {
    let holder = sqlx::query_scalar!(
        "select agent_id
        from rooms
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(holder.flatten().map(UserId))
}
