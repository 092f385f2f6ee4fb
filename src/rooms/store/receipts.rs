//! SQL of receipts.

use sqlx::PgConnection;

use crate::{
    clock::Moment,
    ids::{MessageId, RoomId, TenantId, UserId},
    rooms::receipts::{Changed, Receipt},
};

/// Marks an outbound message as accepted by the channel; as delivered or read, if a receipt for its time has been here. None if it is no outbound message of the tenant or has its external id.
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
        "update messages m
        set external_id = $3, external_at = coalesce($4, m.external_at), sent_at = coalesce(m.sent_at, $5), error = null,
            status = case when c.read_until >= $4 then 'read' when c.delivered_until >= $4 then 'delivered' else 'sent' end,
            delivered_at = coalesce(m.delivered_at, case when c.delivered_until >= $4 then c.delivered_until end),
            read_at = coalesce(m.read_at, case when c.read_until >= $4 then c.read_until end)
        from rooms r
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        where m.tenant_id = $1
          and m.id = $2
          and m.direction = 'outbound'
          and m.external_id is null
          and r.tenant_id = m.tenant_id
          and r.id = m.room_id
        returning m.room_id",
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

/// The echo of a message brings the channel's time, and with it the receipts that have been here before. Whether the message has come
/// further by them.
pub async fn mark_echoed_at(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    at: Moment,
) -> sqlx::Result<bool> {
    let moved = sqlx::query_scalar!(
        r#"update messages m
        set external_at = coalesce(m.external_at, $3), status = now_is.status,
            delivered_at = coalesce(m.delivered_at, case when c.delivered_until >= $3 then c.delivered_until end),
            read_at = coalesce(m.read_at, case when c.read_until >= $3 then c.read_until end)
        from messages was
        join rooms r on r.tenant_id = was.tenant_id and r.id = was.room_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        cross join lateral (
            select case
                when was.status in ('sent', 'delivered') and c.read_until >= $3 then 'read'
                when was.status = 'sent' and c.delivered_until >= $3 then 'delivered'
                else was.status end as status) as now_is
        where was.tenant_id = $1
          and was.id = $2
          and was.direction = 'outbound'
          and (was.external_at is null or now_is.status <> was.status)
          and m.tenant_id = was.tenant_id
          and m.id = was.id
        returning now_is.status <> was.status as "moved!""#,
        tenant.0,
        message.0,
        at,
    )
    .fetch_optional(tx)
    .await?;
    Ok(moved == Some(true))
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

/// Marks outbound messages of a contact as delivered or read; never backwards, and nothing older than the contact's newest rooms. Keeps
/// the receipt where it may speak of a message that is not here yet, or not known to be sent: of readings always, for one speaks of
/// many; of deliveries where a message is on its way or in doubt, or the receipt has moved nothing.
pub async fn mark_receipt(
    tx: &mut PgConnection,
    receipt: &Receipt,
    is_read: bool,
    now: Moment,
) -> sqlx::Result<Vec<Changed>> {
    let rows = sqlx::query!(
        r#"with named as (
            select wanted.external_id, m.tenant_id, m.id
            from unnest($4::text[]) as wanted (external_id)
            left join messages m
              on m.tenant_id = $1
             and m.widget_id = $2
             and hashtextextended(m.external_id, 0) = hashtextextended(wanted.external_id, 0)
             and hashtextextended(m.external_id, uuid_hash_extended(m.widget_id, 1))
                 = hashtextextended(wanted.external_id, uuid_hash_extended($2, 1))
             and m.external_id = wanted.external_id
        ), theirs as (
            select m.tenant_id, m.id, coalesce(m.external_at, m.sent_at) as at, m.status in ('queued', 'uncertain') as is_open
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
              and m.direction = 'outbound'
              and m.status in ('queued', 'uncertain', 'sent', 'delivered')
        ), moved as (
            update messages m
            set status = case when $6 then 'read' else 'delivered' end,
                delivered_at = coalesce(m.delivered_at, $7),
                read_at = case when $6 then $7 else m.read_at end
            from (select tenant_id, id from named union select tenant_id, id from theirs where at <= $5) as hit
            where m.tenant_id = hit.tenant_id
              and m.id = hit.id
              and m.direction = 'outbound'
              and (m.status = 'sent' or ($6 and m.status = 'delivered'))
            returning m.id, m.room_id
        ), kept as (
            update contacts c
            set delivered_until = greatest(c.delivered_until, $5),
                read_until = case when $6 then greatest(c.read_until, $5) else c.read_until end
            where c.tenant_id = $1
              and c.widget_id = $2
              and c.sender_id = $3
              and ($6 or (select bool_or(is_open) from theirs) or not exists (select from moved))
              and (c.delivered_until is null or c.delivered_until < $5 or ($6 and (c.read_until is null or c.read_until < $5)))
              and $5::timestamptz is not null
        ), early as (
            insert into early_changes (tenant_id, widget_id, external_id, kind, at, value, received_at)
            select $1, $2, external_id, case when $6 then 'read' else 'delivered' end, $7, '{}'::jsonb, $8
            from named
            where id is null and (select bool_or(is_open) from theirs)
            on conflict on constraint early_changes_pk do nothing
        )
        select id as "id!", room_id as "room_id!" from moved"#,
        receipt.tenant.0,
        receipt.widget.0,
        receipt.sender,
        &receipt.external_ids,
        receipt.watermark,
        is_read,
        receipt.at,
        now,
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
