//! SQL of contacts.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{ContactInput, ContactView};
use crate::{
    clock::Moment,
    ids::{ContactId, TenantId, UserId},
};

/// One contact.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find(db: &mut PgConnection, tenant: TenantId, contact: ContactId) -> sqlx::Result<Option<ContactView>> {
    sqlx::query_as!(
        ContactView,
        r#"select id as "id: ContactId", widget_id as "widget_id: _", sender_id, name, first_name, picture_url, email, phone, locale, facts, created_at,
            updated_at
        from contacts
        where tenant_id = $1 and id = $2"#,
        tenant.0,
        contact.0,
    )
    .fetch_optional(db)
    .await
}

/// Whether an agent has, or had, a room of this contact.
pub async fn is_known_to(
    db: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    agent: UserId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
            select
            from rooms
            where tenant_id = $1 and contact_id = $2 and agent_id = $3) as "known!""#,
        tenant.0,
        contact.0,
        agent.0,
    )
    .fetch_one(db)
    .await
}

/// Contacts who open rooms, and whose profile was asked for before then, are asked for again.
pub async fn mark_profiles_stale(
    db: &mut PgConnection,
    tenants: &[Uuid],
    contacts: &[Uuid],
    before: Moment,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts c
        set profile_due_at = $4, profile_failures = 0
        from unnest($1::uuid[], $2::uuid[]) as opened (tenant_id, id)
        where c.tenant_id = opened.tenant_id and c.id = opened.id and c.profile_at < $3 and c.profile_due_at is null",
        tenants,
        contacts,
        before,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets what people may correct.
pub async fn update(
    db: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    input: &ContactInput,
    origins: &serde_json::Value,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts
        set name = $3, first_name = $4, email = $5, phone = $6, updated_at = $7, locale = $8, facts = facts || $9
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        input.name,
        input.first_name,
        input.email,
        input.phone,
        now,
        input.locale,
        origins,
    )
    .execute(db)
    .await?;
    Ok(())
}
