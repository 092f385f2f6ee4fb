//! SQL of queues.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{in_use, refused};
use crate::{
    ids::{QueueId, TenantId},
    queues::settings::{Accept, OfferTimeoutAction, Queue, QueueInput, SettingsError, Strategy},
};

/// A queue of the tenant, if there is one.
pub async fn find_queue(db: impl sqlx::PgExecutor<'_>, tenant: TenantId, id: QueueId) -> sqlx::Result<Option<Queue>> {
    Ok(list(db, tenant, Some(id), Uuid::nil(), 1).await?.pop())
}

/// A queue, kept from other changes until the transaction ends.
pub async fn lock_queue(db: &mut PgConnection, tenant: TenantId, id: QueueId) -> sqlx::Result<Option<Queue>> {
    sqlx::query!("select id from queues where tenant_id = $1 and id = $2 for no key update", tenant.0, id.0)
        .fetch_optional(&mut *db)
        .await?;
    find_queue(db, tenant, id).await
}

/// Up to `limit` queues after the one called `after`.
pub async fn list_queues(db: &PgPool, tenant: TenantId, after: Uuid, limit: i64) -> sqlx::Result<Vec<Queue>> {
    list(db, tenant, None, after, limit).await
}

async fn list(
    db: impl sqlx::PgExecutor<'_>,
    tenant: TenantId,
    only: Option<QueueId>,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Queue>> {
    let rows = sqlx::query!(
        r#"select id, name, strategy as "strategy: Strategy", accept as "accept: Accept", offer_timeout_s,
             offer_timeout_action as "offer_timeout_action: OfferTimeoutAction", priority, sticky_minutes, overflow_after_s,
             overflow_queue_id as "overflow_queue_id: QueueId", max_waiting, max_waiting_text, wrap_up_s, service_level_s,
             waiting_text, waiting_text_every_s, contact_silent_minutes, contact_silent_text, contact_close_minutes,
             agent_silent_minutes, agent_return_minutes, created_at, updated_at
         from queues
         where tenant_id = $1 and id > $3 and ($2::uuid is null or id = $2)
         order by id
         limit $4"#,
        tenant.0,
        only.map(|it| it.0),
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    let queues = rows.into_iter().map(|it| Queue {
        id: QueueId(it.id),
        settings: QueueInput {
            name: it.name,
            strategy: it.strategy,
            accept: it.accept,
            offer_timeout_s: it.offer_timeout_s,
            offer_timeout_action: it.offer_timeout_action,
            priority: it.priority,
            sticky_minutes: it.sticky_minutes,
            overflow_after_s: it.overflow_after_s,
            overflow_queue_id: it.overflow_queue_id,
            max_waiting: it.max_waiting,
            max_waiting_text: it.max_waiting_text,
            wrap_up_s: it.wrap_up_s,
            service_level_s: it.service_level_s,
            waiting_text: it.waiting_text,
            waiting_text_every_s: it.waiting_text_every_s,
            contact_silent_minutes: it.contact_silent_minutes,
            contact_silent_text: it.contact_silent_text,
            contact_close_minutes: it.contact_close_minutes,
            agent_silent_minutes: it.agent_silent_minutes,
            agent_return_minutes: it.agent_return_minutes,
        },
        created_at: it.created_at,
        updated_at: it.updated_at,
    });
    Ok(queues.collect())
}

/// Adds a queue.
///
/// # Errors
/// As [`update_queue`].
pub async fn insert_queue(db: &mut PgConnection, tenant: TenantId, queue: &Queue) -> Result<(), SettingsError> {
    // The columns without defaults; the rest follows.
    sqlx::query!(
        "insert into queues (tenant_id, id, name, strategy, accept, offer_timeout_s, offer_timeout_action, wrap_up_s, created_at,
           updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        tenant.0,
        queue.id.0,
        queue.settings.name,
        queue.settings.strategy.as_str(),
        queue.settings.accept.as_str(),
        queue.settings.offer_timeout_s,
        queue.settings.offer_timeout_action.as_str(),
        queue.settings.wrap_up_s,
        queue.created_at,
        queue.updated_at,
    )
    .execute(&mut *db)
    .await
    .map_err(refused)?;
    update_queue(db, tenant, queue).await
}

/// Writes what an admin may change.
///
/// # Errors
/// [`SettingsError::NameTaken`], [`SettingsError::Missing`] if there is no such queue to overflow to, or
/// [`SettingsError::OverflowCircle`].
pub async fn update_queue(db: &mut PgConnection, tenant: TenantId, queue: &Queue) -> Result<(), SettingsError> {
    let it = &queue.settings;
    sqlx::query!(
        "update queues
         set name = $3, strategy = $4, accept = $5, offer_timeout_s = $6, offer_timeout_action = $7, priority = $8,
           sticky_minutes = $9, overflow_after_s = $10, overflow_queue_id = $11, max_waiting = $12, max_waiting_text = $13,
           wrap_up_s = $14, service_level_s = $15, waiting_text = $16, waiting_text_every_s = $17, contact_silent_minutes = $18,
           contact_silent_text = $19, contact_close_minutes = $20, agent_silent_minutes = $21, agent_return_minutes = $22,
           updated_at = $23
         where tenant_id = $1 and id = $2",
        tenant.0,
        queue.id.0,
        it.name,
        it.strategy.as_str(),
        it.accept.as_str(),
        it.offer_timeout_s,
        it.offer_timeout_action.as_str(),
        it.priority,
        it.sticky_minutes,
        it.overflow_after_s,
        it.overflow_queue_id.map(|it| it.0),
        it.max_waiting,
        it.max_waiting_text,
        it.wrap_up_s,
        it.service_level_s,
        it.waiting_text,
        it.waiting_text_every_s,
        it.contact_silent_minutes,
        it.contact_silent_text,
        it.contact_close_minutes,
        it.agent_silent_minutes,
        it.agent_return_minutes,
        queue.updated_at,
    )
    .execute(&mut *db)
    .await
    .map_err(refused)?;
    if it.overflow_queue_id.is_some() && overflows_into_itself(db, tenant, queue.id).await? {
        return Err(SettingsError::OverflowCircle);
    }
    Ok(())
}

/// Whether rooms that overflow from here can come back here: they would go round for ever.
async fn overflows_into_itself(db: &mut PgConnection, tenant: TenantId, id: QueueId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"with recursive path as (
            select overflow_queue_id as id from queues where tenant_id = $1 and id = $2
            union
            select q.overflow_queue_id from path p join queues q on q.tenant_id = $1 and q.id = p.id
         )
         select exists (select from path where id = $2) as "is_circle!""#,
        tenant.0,
        id.0,
    )
    .fetch_one(db)
    .await
}

/// Removes a queue and its memberships. False if there was none.
///
/// # Errors
/// [`SettingsError::InUse`] while incoming chats, rooms or overflowing queues refer to it.
pub async fn delete_queue(db: &mut PgConnection, tenant: TenantId, id: QueueId) -> Result<bool, SettingsError> {
    let done = sqlx::query!(
        "delete from queues
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await
    .map_err(in_use)?;
    Ok(done.rows_affected() > 0)
}
