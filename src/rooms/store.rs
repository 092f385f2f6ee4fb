//! All SQL of rooms, messages and the outbox's writing side.

pub mod changes;
pub mod decisions;
mod events;
pub mod files;
pub mod receipts;
pub mod receive;
pub mod said;
pub mod told;
mod views;
mod windows;

pub use events::*;
pub use views::*;
pub use windows::*;

use std::collections::HashMap;

use serde_json::Value;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{Author, AuthorKind, Delivery, Direction, MessageView, NewMessage, Status, ThreadOwner, receipts::Changed};
use crate::{
    channels::messenger::window::Opened,
    clock::Moment,
    ids::{ContactId, MessageId, RoomId, TenantId, UserId, WidgetId},
};

macro_rules! locked {
    ($room:expr, $row:expr) => {
        LockedRoom {
            id: $room,
            widget: WidgetId($row.widget_id),
            contact: ContactId($row.contact_id),
            channel: $row.channel,
            status: $row.status,
            queue: $row.queue_id,
            agent: $row.agent_id.map(UserId),
            offer_expires_at: $row.offer_expires_at,
            last_seq: $row.last_seq,
            tags: $row.tags,
            opening_sent: $row.opening_sent,
            human_agent: $row.human_agent,
            plain_only: $row.plain_only,
            tags_required: $row.tags_required,
            opened: Opened { last_inbound_at: $row.last_inbound_at, ad_message_at: $row.ad_message_at },
            thread_owner: $row.thread_owner,
            thread_owner_at: $row.thread_owner_at,
            queued_at: $row.queued_at,
            accepted_at: $row.accepted_at,
            unreachable: $row.unreachable,
        }
    };
}

/// What narrows a list of rooms.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named like the fields they narrow")]
pub struct Filter {
    pub status: Option<Vec<Status>>,
    pub queue: Option<Uuid>,
    pub agent: Option<Uuid>,
    pub widget: Option<Uuid>,
    pub contact: Option<Uuid>,
}

/// Ids of rooms in order of opening, behind `after`.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn list_ids(
    db: &PgPool,
    tenant: TenantId,
    filter: &Filter,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let status: Option<Vec<String>> =
        filter.status.as_ref().map(|all| all.iter().map(|it| status_name(*it).to_owned()).collect());
    sqlx::query_scalar!(
        r#"select id
        from rooms
        where tenant_id = $1
          and id > $2
          and ($3::text[] is null or status = any($3))
          and ($4::uuid is null or queue_id = $4)
          and ($5::uuid is null or agent_id = $5)
          and ($6::uuid is null or widget_id = $6)
          and ($7::uuid is null or contact_id = $7)
        order by id
        limit $8"#,
        tenant.0,
        after,
        status.as_deref(),
        filter.queue,
        filter.agent,
        filter.widget,
        filter.contact,
        limit,
    )
    .fetch_all(db)
    .await
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Waiting => "waiting",
        Status::Offered => "offered",
        Status::Active => "active",
        Status::Closed => "closed",
    }
}

/// What a verb must know of the room it holds locked.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct LockedRoom {
    pub id: RoomId,
    pub widget: WidgetId,
    pub contact: ContactId,
    pub channel: String,
    pub status: Status,
    pub queue: Option<Uuid>,
    pub agent: Option<UserId>,
    pub offer_expires_at: Option<Moment>,
    pub last_seq: i64,
    pub tags: Vec<String>,
    pub opening_sent: bool,
    pub human_agent: bool,
    pub plain_only: bool,
    pub tags_required: bool,
    pub opened: Opened,
    pub thread_owner: Option<String>,
    pub thread_owner_at: Option<Moment>,
    pub queued_at: Option<Moment>,
    pub accepted_at: Option<Moment>,
    /// Why the contact cannot be reached before they write again.
    pub unreachable: Option<serde_json::Value>,
}

impl LockedRoom {
    /// Another app that answers the contact now.
    #[must_use]
    pub fn elsewhere(&self, now: Moment) -> Option<ThreadOwner> {
        ThreadOwner::of(self.thread_owner.clone(), self.thread_owner_at, now)
    }
}

/// Locks a room until the transaction ends.
pub async fn lock(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> sqlx::Result<Option<LockedRoom>> {
    let row = sqlx::query!(
        r#"select r.widget_id, r.contact_id, r.status as "status: Status", r.queue_id, r.agent_id, r.offer_expires_at, r.last_seq, r.tags,
            r.opening_sent, r.queued_at, r.accepted_at, w.channel, w.human_agent, w.plain_only, w.tags_required,
            greatest(c.last_inbound_at, r.wrote_at) as last_inbound_at, c.ad_message_at,
            c.thread_owner, c.thread_owner_at,
            case when c.unreachable_since is not null and c.unreachable_inbound_at is not distinct from greatest(c.last_inbound_at, r.wrote_at)
                then c.unreachable_error end as unreachable
        from rooms r
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        where r.tenant_id = $1 and r.id = $2
        for update of r"#,
        tenant.0,
        room.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|it| locked!(room, it)))
}

/// Locks rooms until the transaction ends, but for those that somebody else has locked. By tenant, because ids are what callers say.
pub async fn lock_free(
    tx: &mut PgConnection,
    wanted: &[(TenantId, RoomId)],
) -> sqlx::Result<HashMap<(TenantId, RoomId), LockedRoom>> {
    let (tenants, rooms): (Vec<_>, Vec<_>) = wanted.iter().map(|(tenant, room)| (tenant.0, room.0)).unzip();
    let rows = sqlx::query!(
        r#"select r.tenant_id, r.id, r.widget_id, r.contact_id, r.status as "status: Status", r.queue_id, r.agent_id, r.offer_expires_at,
            r.last_seq, r.tags, r.opening_sent, r.queued_at, r.accepted_at, w.channel, w.human_agent, w.plain_only, w.tags_required,
            greatest(c.last_inbound_at, r.wrote_at) as last_inbound_at, c.ad_message_at, c.thread_owner, c.thread_owner_at,
            case when c.unreachable_since is not null and c.unreachable_inbound_at is not distinct from greatest(c.last_inbound_at, r.wrote_at)
                then c.unreachable_error end as unreachable
        from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
        join rooms r on r.tenant_id = wanted.tenant_id and r.id = wanted.id
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        for update of r skip locked"#,
        &tenants,
        &rooms,
    )
    .fetch_all(tx)
    .await?;
    let locked = rows.into_iter().map(|it| {
        let (tenant, room) = (TenantId(it.tenant_id), RoomId(it.id));
        ((tenant, room), locked!(room, it))
    });
    Ok(locked.collect())
}

macro_rules! message {
    ($row:expr) => {{
        let it = $row;
        MessageView {
            id: MessageId(it.id),
            room_id: RoomId(it.room_id),
            seq: it.seq,
            direction: it.direction,
            author: Author { kind: it.author_kind, id: it.author_id, name: it.author_name },
            content: it.content,
            reply_to: it.reply_to.map(MessageId),
            reactions: it.reactions,
            status: it.status,
            edited_at: it.edited_at,
            error: it.error,
            external_id: it.external_id,
            created_at: it.created_at,
            sent_at: it.sent_at,
            delivered_at: it.delivered_at,
            read_at: it.read_at,
        }
    }};
}

/// Messages of a room in order of `seq`, between the two (exclusive); the newest ones if only `before` or nothing is given.
pub async fn list_messages(
    db: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    after: Option<i64>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<MessageView>> {
    let rows = sqlx::query!(
        r#"select id, room_id, seq, direction as "direction: Direction", author_kind as "author_kind: AuthorKind", author_id, author_name,
            content, reply_to, reactions, status as "status: Delivery", edited_at, error, external_id, created_at, sent_at, delivered_at,
            read_at
        from messages
        where tenant_id = $1 and room_id = $2 and seq > $3 and seq < $4
        order by case when $5 then seq else -seq end
        limit $6"#,
        tenant.0,
        room.0,
        after.unwrap_or(0),
        before.unwrap_or(i64::MAX),
        before.is_none(),
        limit,
    )
    .fetch_all(db)
    .await?;
    let mut messages: Vec<_> = rows.into_iter().map(|it| message!(it)).collect();
    messages.sort_by_key(|it| it.seq);
    Ok(messages)
}

/// One message by id.
pub async fn find_message(
    db: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
) -> sqlx::Result<Option<MessageView>> {
    let row = sqlx::query!(
        r#"select id, room_id, seq, direction as "direction: Direction", author_kind as "author_kind: AuthorKind", author_id, author_name,
            content, reply_to, reactions, status as "status: Delivery", edited_at, error, external_id, created_at, sent_at, delivered_at,
            read_at
        from messages
        where tenant_id = $1 and id = $2"#,
        tenant.0,
        message.0,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|it| message!(it)))
}

/// Messages that changed, in order of room and `seq`, each with its tenant and who holds its room.
pub async fn list_changed(
    db: &mut PgConnection,
    changed: &[(TenantId, Changed)],
) -> sqlx::Result<Vec<(TenantId, MessageView, Option<UserId>)>> {
    let (tenants, ids): (Vec<_>, Vec<_>) = changed.iter().map(|(tenant, it)| (tenant.0, it.message.0)).unzip();
    let rows = sqlx::query!(
        r#"select m.tenant_id, r.agent_id, m.id, m.room_id, m.seq, m.direction as "direction: Direction",
            m.author_kind as "author_kind: AuthorKind", m.author_id, m.author_name, m.content, m.reply_to, m.reactions,
            m.status as "status: Delivery", m.edited_at, m.error, m.external_id, m.created_at, m.sent_at, m.delivered_at, m.read_at
        from unnest($1::uuid[], $2::uuid[]) as v (tenant_id, id)
        join messages m on m.tenant_id = v.tenant_id and m.id = v.id
        join rooms r on r.tenant_id = m.tenant_id and r.id = m.room_id
        order by m.tenant_id, m.room_id, m.seq"#,
        &tenants,
        &ids,
    )
    .fetch_all(db)
    .await?;
    let changed = rows.into_iter().map(|it| (TenantId(it.tenant_id), it.agent_id.map(UserId), message!(it)));
    Ok(changed.map(|(tenant, holder, view)| (tenant, view, holder)).collect())
}

/// Stores messages, one statement for all of them. Their rooms are locked and their external ids known to be new.
pub async fn insert_messages(tx: &mut PgConnection, messages: &[NewMessage]) -> sqlx::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &messages.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into messages (tenant_id, widget_id, external_at, id, room_id, seq, direction, author_kind, author_id, author_name, content,
            reply_to, status, external_id, created_at, sent_at)
        select *
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::bigint[], $7::text[], $8::text[], $9::uuid[],
            $10::text[], $11::jsonb[], $12::uuid[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[])",
        column!(|it| it.tenant.0),
        column!(|it| it.widget.0),
        column!(|it| it.external_at) as &[Option<Moment>],
        column!(|it| it.view.id.0),
        column!(|it| it.view.room_id.0),
        column!(|it| it.view.seq),
        column!(|it| it.view.direction) as &[Direction],
        column!(|it| it.view.author.kind) as &[AuthorKind],
        column!(|it| it.view.author.id) as &[Option<Uuid>],
        column!(|it| &*it.view.author.name) as &[&str],
        column!(|it| Json(&it.view.content)) as &[Json<&Value>],
        column!(|it| it.view.reply_to.map(|id| id.0)) as &[Option<Uuid>],
        column!(|it| it.view.status) as &[Delivery],
        column!(|it| it.view.external_id.as_deref()) as &[Option<&str>],
        column!(|it| it.view.created_at),
        column!(|it| it.view.sent_at) as &[Option<Moment>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts a stored outbound message on its way.
pub async fn insert_outbox(tx: &mut PgConnection, message: &NewMessage, due_at: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into outbox (tenant_id, room_id, seq, message_id, widget_id, state, due_at)
        values ($1, $2, $3, $4, $5, 'due', $6)",
        message.tenant.0,
        message.view.room_id.0,
        message.view.seq,
        message.view.id.0,
        message.widget.0,
        due_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Moves a locked room's `last_seq`; an answer also clears `unread`, and from now on the contact's silence counts.
pub async fn mark_written(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    last_seq: i64,
    answered: bool,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set last_seq = $3, unread = case when $4 then 0 else unread end,
            answered_at = case when $4 then $5 else answered_at end,
            unanswered_since = case when $4 then null else unanswered_since end,
            reminded_at = case when $4 then null else reminded_at end,
            agent_silent_at = case when $4 then null else agent_silent_at end
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
        last_seq,
        answered,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The holder has seen everything.
pub async fn mark_seen(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> sqlx::Result<()> {
    sqlx::query!("update rooms set unread = 0 where tenant_id = $1 and id = $2", tenant.0, room.0).execute(tx).await?;
    Ok(())
}

/// Sets a locked room's tags.
pub async fn mark_tags(tx: &mut PgConnection, tenant: TenantId, room: RoomId, tags: &[String]) -> sqlx::Result<()> {
    sqlx::query!("update rooms set tags = $3 where tenant_id = $1 and id = $2", tenant.0, room.0, tags)
        .execute(tx)
        .await?;
    Ok(())
}

/// The opening text has gone out.
pub async fn mark_opening_sent(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> sqlx::Result<()> {
    sqlx::query!("update rooms set opening_sent = true where tenant_id = $1 and id = $2", tenant.0, room.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// What automatic texts are made of.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct TextFacts {
    pub texts: serde_json::Value,
    pub display_name: String,
    pub name: Option<String>,
    pub first_name: Option<String>,
    pub locale: Option<String>,
}

/// The widget's texts and the contact's names.
pub async fn load_text_facts(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> sqlx::Result<TextFacts> {
    sqlx::query_as!(
        TextFacts,
        "select w.texts, w.display_name, c.name, c.first_name, c.locale
        from rooms r
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        where r.tenant_id = $1 and r.id = $2",
        tenant.0,
        room.0,
    )
    .fetch_one(tx)
    .await
}

/// The hours that a widget follows, if it has a way in that follows any.
pub async fn find_schedule(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
) -> sqlx::Result<Option<serde_json::Value>> {
    sqlx::query_scalar!(
        "select h.schedule
        from incoming_chats i
        join working_hours h on h.tenant_id = i.tenant_id and h.id = i.working_hours_id
        where i.tenant_id = $1 and i.widget_id = $2 and i.enabled",
        tenant.0,
        widget.0,
    )
    .fetch_optional(tx)
    .await
}

/// Notes that the offline message for the closed period that began at `since` has gone out; false if it had already.
pub async fn mark_offline_told(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    since: Moment,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update contacts
        set offline_told_for = $3
        where tenant_id = $1 and id = $2 and offline_told_for is distinct from $3",
        tenant.0,
        contact.0,
        since,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
