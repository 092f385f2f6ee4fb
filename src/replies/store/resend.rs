//! SQL of sending again.

use sqlx::PgConnection;

use crate::ids::{MessageId, TenantId};

/// Locks a message until the transaction ends.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_message(tx: &mut PgConnection, tenant: TenantId, message: MessageId) -> sqlx::Result<()> {
    sqlx::query!("select from messages where tenant_id = $1 and id = $2 for update", tenant.0, message.0)
        .fetch_optional(tx)
        .await?;
    Ok(())
}

/// The message has been sent again as `copy`.
pub async fn mark_resent(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    copy: MessageId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update messages
        set error = coalesce(error, '{}') || jsonb_build_object('resent_as', $3::uuid)
        where tenant_id = $1 and id = $2",
        tenant.0,
        message.0,
        copy.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}
