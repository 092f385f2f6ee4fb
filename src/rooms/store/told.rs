//! SQL of what the channel tells about contacts.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::receive::Known;
use crate::{
    clock::Moment,
    ids::{ContactId, RoomId, TenantId, UserId, WidgetId},
};

/// The contact behind a sender, if there is one.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_contact(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    sender: &str,
) -> sqlx::Result<Option<Known>> {
    let row = sqlx::query!(
        "select id, name
        from contacts
        where tenant_id = $1 and widget_id = $2 and sender_id = $3",
        tenant.0,
        widget.0,
        sender,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| Known {
        id: ContactId(it.id),
        name: it.name,
        referral: None,
        room: None,
        is_new: false,
        is_settled: false,
    }))
}

/// The newest room of a contact, open or not, with its agent.
pub async fn find_newest_room(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
) -> sqlx::Result<Option<(RoomId, Option<UserId>)>> {
    let row = sqlx::query!(
        "select id, agent_id
        from rooms
        where tenant_id = $1 and contact_id = $2
        order by id desc
        limit 1",
        tenant.0,
        contact.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| (RoomId(it.id), it.agent_id.map(UserId))))
}

/// Remembers a fact unless a newer one of the name is known.
pub async fn mark_fact(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    name: &str,
    value: &Value,
    at: Moment,
    now: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update contacts
        set facts = facts || jsonb_build_object($3::text, $4::jsonb), updated_at = $6
        where tenant_id = $1
          and id = $2
          and coalesce((facts -> $3 ->> 'at')::timestamptz, '-infinity') <= $5
          and facts -> $3 is distinct from $4",
        tenant.0,
        contact.0,
        name,
        value,
        at,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets what the contact gave in a form; a name that is known stays.
pub async fn mark_given(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    name: Option<&str>,
    phone: Option<&str>,
    email: Option<&str>,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts
        set name = coalesce(name, $3), phone = coalesce($4, phone), email = coalesce($5, email), updated_at = $6
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        name,
        phone,
        email,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives a contact the facts of somebody who was known by a `user_ref` only. False if there is nobody.
pub async fn adopt_facts(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    user_ref: &str,
    contact: ContactId,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with nameless as (
            delete from contacts c
            where c.tenant_id = $1
              and c.widget_id = $2
              and c.sender_id = $3
              and c.id <> $4
              and not exists (select from rooms r where r.tenant_id = c.tenant_id and r.contact_id = c.id)
            returning c.facts)
        update contacts c
        set facts = n.facts || c.facts
        from nameless n
        where c.tenant_id = $1 and c.id = $4",
        tenant.0,
        widget.0,
        user_ref,
        contact.0,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Where the contact came from, for their next message; unless a newer one is known.
pub async fn mark_referral(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    referral: &Value,
    at: Moment,
    opens_window: bool,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update contacts
        set referral = $3, referral_at = $4, last_inbound_at = case when $5 then greatest(last_inbound_at, $4) else last_inbound_at end
        where tenant_id = $1 and id = $2 and (referral_at is null or referral_at < $4)",
        tenant.0,
        contact.0,
        referral,
        at,
        opens_window,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Where the contacts of these rooms came from last.
pub async fn mark_room_referrals(
    tx: &mut PgConnection,
    tenants: &[Uuid],
    rooms: &[Uuid],
    referrals: &[Value],
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms r
        set referral = it.referral
        from unnest($1::uuid[], $2::uuid[], $3::jsonb[]) as it (tenant_id, id, referral)
        where r.tenant_id = it.tenant_id and r.id = it.id",
        tenants,
        rooms,
        referrals,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The contact did something that opens the window.
pub async fn mark_touched(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    sender: &str,
    at: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts
        set last_inbound_at = greatest(last_inbound_at, $4)
        where tenant_id = $1 and widget_id = $2 and sender_id = $3",
        tenant.0,
        widget.0,
        sender,
        at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Who answers the contact, unless something newer is known.
pub async fn mark_thread_owner(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    app_id: Option<&str>,
    at: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update contacts
        set thread_owner = $3, thread_owner_at = $4
        where tenant_id = $1
          and id = $2
          and (thread_owner_at is null or thread_owner_at < $4 or (thread_owner_at = $4 and thread_owner is distinct from $3))",
        tenant.0,
        contact.0,
        app_id,
        at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
