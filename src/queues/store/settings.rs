//! SQL of what an admin sets: queues, their members and incoming chats.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

mod queues;

pub use queues::{delete_queue, find_queue, insert_queue, list_queues, lock_queue, update_queue};

use crate::ids::{HoursId, IncomingChatId, QueueId, TenantId, UserId, WidgetId};
use crate::queues::settings::{AfterHours, IncomingChat, IncomingChatInput, Member, SettingsError};

// Members.

/// Up to `limit` members of a queue after the user called `after`.
pub async fn list_members(
    db: &PgPool,
    tenant: TenantId,
    queue: QueueId,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Member>> {
    sqlx::query_as!(
        Member,
        r#"select m.user_id as "user_id: UserId", u.name, m.priority
         from queue_members m
         join users u on u.tenant_id = m.tenant_id and u.id = m.user_id
         where m.tenant_id = $1 and m.queue_id = $2 and m.user_id > $3
         order by m.user_id
         limit $4"#,
        tenant.0,
        queue.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Adds a member or sets its priority. True if it is new.
pub async fn put_member(
    db: &mut PgConnection,
    tenant: TenantId,
    queue: QueueId,
    user: UserId,
    priority: i32,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"insert into queue_members (tenant_id, queue_id, user_id, priority)
         values ($1, $2, $3, $4)
         on conflict on constraint queue_members_pk do update set priority = excluded.priority
         returning (xmax = 0) as "is_new!""#,
        tenant.0,
        queue.0,
        user.0,
        priority,
    )
    .fetch_one(db)
    .await
}

/// Takes a member out. False if there was none.
pub async fn delete_member(
    db: &mut PgConnection,
    tenant: TenantId,
    queue: QueueId,
    user: UserId,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "delete from queue_members
         where tenant_id = $1 and queue_id = $2 and user_id = $3",
        tenant.0,
        queue.0,
        user.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

// Incoming chats.

/// An incoming chat of the tenant, if there is one.
pub async fn find_incoming_chat(
    db: &PgPool,
    tenant: TenantId,
    id: IncomingChatId,
) -> sqlx::Result<Option<IncomingChat>> {
    sqlx::query_as!(
        IncomingChat,
        r#"select id as "id: IncomingChatId", name, widget_id as "widget_id: WidgetId", queue_id as "queue_id: QueueId",
             working_hours_id as "working_hours_id: HoursId", offline_message, after_hours as "after_hours: AfterHours", enabled,
             created_at, updated_at
         from incoming_chats
         where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// An incoming chat, kept from other changes until the transaction ends.
pub async fn lock_incoming_chat(
    db: &mut PgConnection,
    tenant: TenantId,
    id: IncomingChatId,
) -> sqlx::Result<Option<IncomingChat>> {
    sqlx::query_as!(
        IncomingChat,
        r#"select id as "id: IncomingChatId", name, widget_id as "widget_id: WidgetId", queue_id as "queue_id: QueueId",
             working_hours_id as "working_hours_id: HoursId", offline_message, after_hours as "after_hours: AfterHours", enabled,
             created_at, updated_at
         from incoming_chats
         where tenant_id = $1 and id = $2
         for no key update"#,
        tenant.0,
        id.0,
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` incoming chats after the one called `after`.
pub async fn list_incoming_chats(
    db: &PgPool,
    tenant: TenantId,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<IncomingChat>> {
    sqlx::query_as!(
        IncomingChat,
        r#"select id as "id: IncomingChatId", name, widget_id as "widget_id: WidgetId", queue_id as "queue_id: QueueId",
             working_hours_id as "working_hours_id: HoursId", offline_message, after_hours as "after_hours: AfterHours", enabled,
             created_at, updated_at
         from incoming_chats
         where tenant_id = $1 and id > $2
         order by id
         limit $3"#,
        tenant.0,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Adds an incoming chat.
///
/// # Errors
/// [`SettingsError::WidgetTaken`], or [`SettingsError::Missing`] naming the fields.
pub async fn insert_incoming_chat(
    db: &mut PgConnection,
    tenant: TenantId,
    chat: &IncomingChat,
) -> Result<(), SettingsError> {
    check_named(&mut *db, tenant, &chat.settings()).await?;
    sqlx::query!(
        "insert into incoming_chats (tenant_id, id, name, widget_id, queue_id, working_hours_id, offline_message, after_hours,
           enabled, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        tenant.0,
        chat.id.0,
        chat.name,
        chat.widget_id.0,
        chat.queue_id.0,
        chat.working_hours_id.map(|it| it.0),
        chat.offline_message,
        chat.after_hours.as_str(),
        chat.enabled,
        chat.created_at,
        chat.updated_at,
    )
    .execute(db)
    .await
    .map_err(refused)?;
    Ok(())
}

/// Writes what an admin may change.
///
/// # Errors
/// As [`insert_incoming_chat`].
pub async fn update_incoming_chat(
    db: &mut PgConnection,
    tenant: TenantId,
    chat: &IncomingChat,
) -> Result<(), SettingsError> {
    check_named(&mut *db, tenant, &chat.settings()).await?;
    sqlx::query!(
        "update incoming_chats
         set name = $3, widget_id = $4, queue_id = $5, working_hours_id = $6, offline_message = $7, after_hours = $8,
           enabled = $9, updated_at = $10
         where tenant_id = $1 and id = $2",
        tenant.0,
        chat.id.0,
        chat.name,
        chat.widget_id.0,
        chat.queue_id.0,
        chat.working_hours_id.map(|it| it.0),
        chat.offline_message,
        chat.after_hours.as_str(),
        chat.enabled,
        chat.updated_at,
    )
    .execute(db)
    .await
    .map_err(refused)?;
    Ok(())
}

/// Removes an incoming chat. False if there was none.
pub async fn delete_incoming_chat(db: &mut PgConnection, tenant: TenantId, id: IncomingChatId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "delete from incoming_chats
         where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Looks before writing, so that all wrong fields are named, not only the first. The foreign keys have the last word.
async fn check_named(db: &mut PgConnection, tenant: TenantId, input: &IncomingChatInput) -> Result<(), SettingsError> {
    let hours = input.working_hours_id.map(|it| it.0);
    let found = sqlx::query!(
        r#"select
           exists (select from widgets where tenant_id = $1 and id = $2) as "widget!",
           exists (select from queues where tenant_id = $1 and id = $3) as "queue!",
           ($4::uuid is null or exists (select from working_hours where tenant_id = $1 and id = $4)) as "hours!""#,
        tenant.0,
        input.widget_id.0,
        input.queue_id.0,
        hours,
    )
    .fetch_one(db)
    .await?;
    let named = [(found.widget, "/widget_id"), (found.queue, "/queue_id"), (found.hours, "/working_hours_id")];
    let missing: Vec<_> = named.into_iter().filter(|(there, _)| !there).map(|(_, pointer)| pointer).collect();
    if missing.is_empty() { Ok(()) } else { Err(SettingsError::Missing(missing)) }
}

fn refused(error: sqlx::Error) -> SettingsError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("queues_name_key") => SettingsError::NameTaken,
        Some("queues_overflow_fk") => SettingsError::Missing(vec!["/overflow_queue_id"]),
        Some("incoming_chats_widget_key") => SettingsError::WidgetTaken,
        Some("incoming_chats_widget_fk") => SettingsError::Missing(vec!["/widget_id"]),
        Some("incoming_chats_queue_fk") => SettingsError::Missing(vec!["/queue_id"]),
        Some("incoming_chats_hours_fk") => SettingsError::Missing(vec!["/working_hours_id"]),
        _ => SettingsError::Db(error),
    }
}

fn in_use(error: sqlx::Error) -> SettingsError {
    match error.as_database_error() {
        Some(it) if it.is_foreign_key_violation() => SettingsError::InUse,
        _ => SettingsError::Db(error),
    }
}
