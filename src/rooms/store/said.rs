//! SQL of what is written into many rooms at once.

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId},
    rooms::{AuthorKind, NewMessage, events::NewEvent},
};

/// Stores answers of locked rooms and puts them on their way, in one statement: the messages with their places in the outbox, what the
/// rooms know of them (their new `last_seq`, and that the contacts are answered), and the events.
///
/// # Errors
/// The database's.
pub async fn answer(
    tx: &mut PgConnection,
    rooms: &[(TenantId, RoomId, i64)],
    messages: &[NewMessage],
    events: &[NewEvent],
    now: Moment,
) -> sqlx::Result<()> {
    macro_rules! column {
        ($of:ident, |$it:ident| $value:expr) => {
            &$of.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        r#"with answered as (
            update rooms r
            set last_seq = a.last_seq, unread = 0, answered_at = $1, unanswered_since = null, reminded_at = null, agent_silent_at = null
            from unnest($2::uuid[], $3::uuid[], $4::bigint[]) as a (tenant_id, id, last_seq)
            where r.tenant_id = a.tenant_id and r.id = a.id
        ), new as materialized (
            select *
            from unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::bigint[], $10::text[], $11::uuid[], $12::text[], $13::jsonb[])
                as m (tenant_id, widget_id, id, room_id, seq, author_kind, author_id, author_name, content)
        ), stored as (
            insert into messages (tenant_id, widget_id, id, room_id, seq, author_kind, author_id, author_name, content, direction, status,
                created_at)
            select new.*, 'outbound', 'queued', $1
            from new
        ), put as (
            insert into outbox (tenant_id, room_id, seq, message_id, widget_id, state, due_at)
            select tenant_id, room_id, seq, id, widget_id, 'due', $1
            from new
        )
        insert into events (at, tenant_id, kind, room_id, agent_id, data)
        select $1, e.tenant_id, e.kind, e.room_id, e.agent_id, e.data::json
        from unnest($14::uuid[], $15::text[], $16::uuid[], $17::uuid[], $18::text[]) as e (tenant_id, kind, room_id, agent_id, data)"#,
        now,
        column!(rooms, |it| it.0.0),
        column!(rooms, |it| it.1.0),
        column!(rooms, |it| it.2),
        column!(messages, |it| it.tenant.0),
        column!(messages, |it| it.widget.0),
        column!(messages, |it| it.view.id.0),
        column!(messages, |it| it.view.room_id.0),
        column!(messages, |it| it.view.seq),
        column!(messages, |it| it.view.author.kind) as &[AuthorKind],
        column!(messages, |it| it.view.author.id) as &[Option<Uuid>],
        column!(messages, |it| &*it.view.author.name) as &[&str],
        column!(messages, |it| Json(&it.view.content)) as &[Json<&Value>],
        column!(events, |it| it.tenant.0),
        column!(events, |it| it.kind.name()) as &[&str],
        column!(events, |it| it.room.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.data.get()) as &[&str],
    )
    .execute(tx)
    .await?;
    Ok(())
}
