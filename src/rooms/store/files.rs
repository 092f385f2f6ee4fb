//! SQL of what files change in messages and contacts.

use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    clock::Moment,
    ids::{ContactId, MessageId, RoomId, TenantId},
};

/// The room of a message.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_room(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<Option<RoomId>> {
    let room = sqlx::query_scalar!(
        "select room_id
        from messages
        where tenant_id = $1 and id = $2",
        tenant.0,
        message.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(room.map(RoomId))
}

/// Lays `change` over one attachment of a message; nulls take a member away. Whether it is a contact's message.
pub async fn mark_attachment(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    position: i32,
    change: &Value,
) -> sqlx::Result<bool> {
    let inbound = sqlx::query_scalar!(
        r#"update messages
        set content = jsonb_set(content, array['attachments', $3::integer::text],
            jsonb_strip_nulls((content #> array['attachments', $3::integer::text]) || $4::jsonb), false)
        where tenant_id = $1 and id = $2 and content #> array['attachments', $3::integer::text] is not null
        returning direction = 'inbound' as "inbound!""#,
        tenant.0,
        message.0,
        position,
        change,
    )
    .fetch_optional(tx)
    .await?;
    Ok(inbound.unwrap_or(false))
}

/// Sets or takes away what `by` thinks of a message; one reaction each.
pub async fn mark_reaction(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    by: &str,
    reaction: Option<&Value>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update messages
        set reactions = coalesce(
            (select jsonb_agg(it)
             from jsonb_array_elements(reactions) as it
             where it ->> 'by' <> $3), '[]') || case when $4::jsonb is null then '[]' else jsonb_build_array($4::jsonb) end
        where tenant_id = $1 and id = $2",
        tenant.0,
        message.0,
        by,
        reaction,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Sets a contact's picture; the newest room that shows it.
pub async fn mark_picture(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    picture: &str,
    now: Moment,
) -> sqlx::Result<Option<RoomId>> {
    let room = sqlx::query_scalar!(
        "with changed as (
            update contacts
            set picture_url = $3, updated_at = $4
            where tenant_id = $1 and id = $2
        )
        select id
        from rooms
        where tenant_id = $1 and contact_id = $2
        order by id desc
        limit 1",
        tenant.0,
        contact.0,
        picture,
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(room.map(RoomId))
}

/// Notes that the error text is said in a room now; false if it was said after `since`.
pub async fn mark_error_told(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    since: Moment,
    now: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update rooms
        set error_told_at = $4
        where tenant_id = $1 and id = $2 and (error_told_at is null or error_told_at <= $3)",
        tenant.0,
        room.0,
        since,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
