//! SQL of canned answers and the directory.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{CannedAnswer, CannedError, Colleague, Directory, QueueName, WidgetChoice};
use crate::{
    ids::{CannedAnswerId, QueueId, TenantId, UserId, WidgetId},
    people::users::AgentStatus,
    widgets::Tags,
};

/// A canned answer.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find(db: &mut PgConnection, tenant: TenantId, id: CannedAnswerId) -> sqlx::Result<Option<CannedAnswer>> {
    sqlx::query_as!(
        CannedAnswer,
        r#"select id as "id: CannedAnswerId", queue_id as "queue_id: QueueId", shortcut, text, created_at, updated_at
        from canned_answers
        where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// A canned answer, kept from other changes until the transaction ends.
pub async fn lock(tx: &mut PgConnection, tenant: TenantId, id: CannedAnswerId) -> sqlx::Result<Option<CannedAnswer>> {
    sqlx::query_as!(
        CannedAnswer,
        r#"select id as "id: CannedAnswerId", queue_id as "queue_id: QueueId", shortcut, text, created_at, updated_at
        from canned_answers
        where tenant_id = $1 and id = $2
        for no key update"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(tx)
    .await
}

/// Up to `limit` canned answers after the one called `after`; of a queue: its own and those for all.
pub async fn list(
    db: &PgPool,
    tenant: TenantId,
    queue: Option<QueueId>,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<CannedAnswer>> {
    sqlx::query_as!(
        CannedAnswer,
        r#"select id as "id: CannedAnswerId", queue_id as "queue_id: QueueId", shortcut, text, created_at, updated_at
        from canned_answers
        where tenant_id = $1 and id > $2 and ($3::uuid is null or queue_id is null or queue_id = $3)
        order by id
        limit $4"#,
        tenant.0,
        after,
        queue.map(|it| it.0),
        limit,
    )
    .fetch_all(db)
    .await
}

/// Adds a canned answer.
///
/// # Errors
/// [`CannedError::ShortcutTaken`], [`CannedError::NoSuchQueue`].
pub async fn insert(tx: &mut PgConnection, tenant: TenantId, answer: &CannedAnswer) -> Result<(), CannedError> {
    sqlx::query!(
        "insert into canned_answers (tenant_id, id, queue_id, shortcut, text, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7)",
        tenant.0,
        answer.id.0,
        answer.queue_id.map(|it| it.0),
        answer.shortcut,
        answer.text,
        answer.created_at,
        answer.updated_at,
    )
    .execute(tx)
    .await
    .map_err(refused)?;
    Ok(())
}

/// Writes what can be changed.
///
/// # Errors
/// As [`insert`].
pub async fn update(tx: &mut PgConnection, tenant: TenantId, answer: &CannedAnswer) -> Result<(), CannedError> {
    sqlx::query!(
        "update canned_answers
        set queue_id = $3, shortcut = $4, text = $5, updated_at = $6
        where tenant_id = $1 and id = $2",
        tenant.0,
        answer.id.0,
        answer.queue_id.map(|it| it.0),
        answer.shortcut,
        answer.text,
        answer.updated_at,
    )
    .execute(tx)
    .await
    .map_err(refused)?;
    Ok(())
}

/// Removes a canned answer. False if there was none.
pub async fn delete(tx: &mut PgConnection, tenant: TenantId, id: CannedAnswerId) -> sqlx::Result<bool> {
    let done =
        sqlx::query!("delete from canned_answers where tenant_id = $1 and id = $2", tenant.0, id.0).execute(tx).await?;
    Ok(done.rows_affected() > 0)
}

fn refused(error: sqlx::Error) -> CannedError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("canned_answers_shortcut_key") => CannedError::ShortcutTaken,
        Some("canned_answers_queue_fk") => CannedError::NoSuchQueue,
        _ => CannedError::Db(error),
    }
}

/// What agents choose from. Bounded by the tenant's people, queues and widgets, which are few.
pub async fn load_directory(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Directory> {
    let agents = sqlx::query_as!(
        Colleague,
        r#"select u.id as "id: UserId", u.name, a.status as "status: AgentStatus", a.status_reason as reason,
            a.status_since, a.max_chats,
            (select count(*)
             from rooms r
             where r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.status in ('offered', 'active')) as "chats!"
        from agents a
        join users u on u.tenant_id = a.tenant_id and u.id = a.user_id
        where a.tenant_id = $1 and u.active and 'agent' = any (u.roles)
        order by u.name, u.id"#,
        tenant.0,
    )
    .fetch_all(&mut *db)
    .await?;
    let queues = sqlx::query_as!(
        QueueName,
        r#"select id as "id: QueueId", name
        from queues
        where tenant_id = $1
        order by name"#,
        tenant.0,
    )
    .fetch_all(&mut *db)
    .await?;
    let widgets = sqlx::query!(
        r#"select id as "id: WidgetId", name, tags_offered, tags_required
        from widgets
        where tenant_id = $1
        order by name, id"#,
        tenant.0,
    )
    .fetch_all(db)
    .await?;
    let widgets = widgets.into_iter().map(|it| WidgetChoice {
        id: it.id,
        name: it.name,
        tags: Tags { offered: it.tags_offered, required: it.tags_required },
    });
    Ok(Directory { agents, queues, widgets: widgets.collect() })
}
