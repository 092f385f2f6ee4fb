//! SQL of changes of messages, and of those that came before their message.

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{MessageId, RoomId, TenantId, WidgetId},
    rooms::{
        Delivery,
        changes::{Change, Changeable, MessageChange},
    },
};

/// The message with this external id, locked.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_message(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    external_id: &str,
) -> sqlx::Result<Option<Changeable>> {
    let row = sqlx::query!(
        r#"select id, room_id, content, status as "status: Delivery", reactions, reacted_at, page_reacted_at, edited_at, edit_number,
            delivered_at, read_at
        from messages
        where tenant_id = $1
          and widget_id = $2
          and hashtextextended(external_id, 0) = hashtextextended($3, 0)
          and hashtextextended(external_id, uuid_hash_extended(widget_id, 1)) = hashtextextended($3, uuid_hash_extended($2, 1))
          and external_id = $3
        for update"#,
        tenant.0,
        widget.0,
        external_id,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| Changeable {
        id: MessageId(it.id),
        room: RoomId(it.room_id),
        content: it.content,
        status: it.status,
        reactions: it.reactions,
        reacted_at: it.reacted_at,
        page_reacted_at: it.page_reacted_at,
        edited_at: it.edited_at,
        edit_number: it.edit_number,
        delivered_at: it.delivered_at,
        read_at: it.read_at,
    }))
}

/// Writes the changed parts of a message.
pub async fn update(tx: &mut PgConnection, tenant: TenantId, it: &Changeable) -> sqlx::Result<()> {
    sqlx::query!(
        "update messages
        set content = $3, status = $4, reactions = $5, reacted_at = $6, edited_at = $7, edit_number = $8, page_reacted_at = $9,
            delivered_at = $10, read_at = $11
        where tenant_id = $1 and id = $2",
        tenant.0,
        it.id.0,
        it.content,
        it.status as _,
        it.reactions,
        it.reacted_at,
        it.edited_at,
        it.edit_number,
        it.page_reacted_at,
        it.delivered_at,
        it.read_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn kind_of(change: &Change) -> &'static str {
    match change {
        Change::Edit { .. } => "edit",
        Change::Unsent => "unsent",
        Change::Reaction { by: "page", .. } => "page_reaction",
        Change::Reaction { .. } => "reaction",
        Change::Arrived { is_read: false } => "delivered",
        Change::Arrived { is_read: true } => "read",
    }
}

fn value_of(change: &Change) -> Value {
    match change {
        Change::Edit { text, number } => json!({ "text": text, "number": number }),
        Change::Unsent | Change::Arrived { .. } => json!({}),
        Change::Reaction { by, emoji } => json!({ "by": by, "emoji": emoji }),
    }
}

fn change_of(kind: &str, value: &Value) -> Change {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    match kind {
        "edit" => Change::Edit { text: text("text"), number: value["number"].as_i64() },
        "reaction" | "page_reaction" => {
            Change::Reaction { by: if value["by"] == "page" { "page" } else { "contact" }, emoji: text("emoji") }
        }
        "delivered" | "read" => Change::Arrived { is_read: kind == "read" },
        _ => Change::Unsent,
    }
}

/// Keeps a change for a message that is not here yet: of each kind the newest, and of reactions each side's.
pub async fn insert_early(tx: &mut PgConnection, it: &MessageChange, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into early_changes as e (tenant_id, widget_id, external_id, kind, at, value, received_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict on constraint early_changes_pk
        do update set at = excluded.at, value = excluded.value
        where (coalesce((excluded.value ->> 'number')::bigint, 0), excluded.at) > (coalesce((e.value ->> 'number')::bigint, 0), e.at)",
        it.tenant.0,
        it.widget.0,
        it.external_id,
        kind_of(&it.change),
        it.at,
        value_of(&it.change),
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes what came before these messages. The three slices go together.
pub async fn take_early(
    tx: &mut PgConnection,
    tenants: &[Uuid],
    widgets: &[Uuid],
    external_ids: &[String],
) -> sqlx::Result<Vec<MessageChange>> {
    let rows = sqlx::query!(
        "delete from early_changes e
        using unnest($1::uuid[], $2::uuid[], $3::text[]) as it (tenant_id, widget_id, external_id)
        where e.tenant_id = it.tenant_id and e.widget_id = it.widget_id and e.external_id = it.external_id
        returning e.tenant_id, e.widget_id, e.external_id, e.kind, e.at, e.value",
        tenants,
        widgets,
        external_ids,
    )
    .fetch_all(tx)
    .await?;
    let changes = rows.into_iter().map(|it| MessageChange {
        tenant: TenantId(it.tenant_id),
        widget: WidgetId(it.widget_id),
        external_id: it.external_id,
        at: it.at,
        change: change_of(&it.kind, &it.value),
    });
    Ok(in_order(changes.collect()))
}

/// Takes what came before this stored message.
pub async fn take_early_of(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
) -> sqlx::Result<Vec<MessageChange>> {
    let rows = sqlx::query!(
        "delete from early_changes e
        using messages m
        where m.tenant_id = $1
          and m.id = $2
          and e.tenant_id = m.tenant_id
          and e.widget_id = m.widget_id
          and e.external_id = m.external_id
        returning e.widget_id, e.external_id, e.kind, e.at, e.value",
        tenant.0,
        message.0,
    )
    .fetch_all(tx)
    .await?;
    let changes = rows.into_iter().map(|it| MessageChange {
        tenant,
        widget: WidgetId(it.widget_id),
        external_id: it.external_id,
        at: it.at,
        change: change_of(&it.kind, &it.value),
    });
    Ok(in_order(changes.collect()))
}

fn in_order(mut changes: Vec<MessageChange>) -> Vec<MessageChange> {
    changes.sort_by_key(|it| it.at);
    changes
}

/// Forgets changes whose message has not come since then.
pub async fn delete_old_early(db: &PgPool, before: Moment) -> sqlx::Result<()> {
    sqlx::query!("delete from early_changes where received_at < $1", before).execute(db).await?;
    Ok(())
}
