//! Writing into a room: every message that is not the contact's passes here, in the caller's transaction, with its room locked.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Author, AuthorKind, Delivery, Direction, MessageView, NewMessage,
    events::{self, Kind, NewEvent, shown},
    store::{self, LockedRoom},
};
use crate::{
    channels::Content,
    clock::Moment,
    ids::{MessageId, TenantId, UserId},
    media,
};

/// Who writes, and whether it counts as the holder's answer.
#[derive(Clone, Debug)]
pub struct Writer {
    /// As shown.
    pub author: Author,
    /// Clears `unread`.
    pub answers: bool,
}

impl Writer {
    /// A person of the tenant.
    #[must_use]
    pub fn agent(id: UserId, name: &str) -> Self {
        Self { author: Author { kind: AuthorKind::Agent, id: Some(id.0), name: name.to_owned() }, answers: true }
    }

    /// An API key.
    #[must_use]
    pub fn bot(id: Uuid, name: &str) -> Self {
        Self { author: Author { kind: AuthorKind::Bot, id: Some(id), name: name.to_owned() }, answers: true }
    }

    /// The gateway itself, in the widget's name.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self { author: Author { kind: AuthorKind::System, id: None, name: name.to_owned() }, answers: false }
    }
}

/// Something from outside that belongs into a room.
#[derive(Clone, Debug)]
pub struct Came<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Who wrote it.
    pub author: Author,
    /// What it says.
    pub content: &'a Content,
    /// The message it is about.
    pub reply_to: Option<MessageId>,
    /// How far it has come.
    pub status: Delivery,
    /// The channel's id, known to be new.
    pub external_id: &'a str,
    /// When, by the channel's clock.
    pub at: Moment,
}

/// Stores what was written or happened elsewhere in the locked room. Moves `room.last_seq`.
///
/// # Errors
/// The database's.
pub async fn take_in(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &mut LockedRoom,
    came: Came<'_>,
    now: Moment,
) -> sqlx::Result<MessageView> {
    room.last_seq += 1;
    let (id, mut content) = (MessageId::fresh(now), came.content.clone());
    let files = media::adopt(tenant, id, &mut content, now);
    let view = MessageView {
        id,
        room_id: room.id,
        seq: room.last_seq,
        direction: came.direction,
        author: came.author,
        content: shown(&content),
        reply_to: came.reply_to,
        reactions: serde_json::json!([]),
        status: came.status,
        edited_at: None,
        error: None,
        external_id: Some(came.external_id.to_owned()),
        created_at: now,
        sent_at: (came.direction == Direction::Outbound).then_some(came.at),
        delivered_at: None,
        read_at: None,
    };
    let message = NewMessage { tenant, widget: room.widget, external_at: Some(came.at), view };
    store::insert_messages(tx, std::slice::from_ref(&message)).await?;
    media::store::insert_files(tx, &files, now).await?;
    if came.direction == Direction::Outbound {
        // Whoever wrote it, the contact was answered.
        store::receive::mark_answered_elsewhere(tx, tenant, room.id, now).await?;
    } else {
        store::mark_written(tx, tenant, room.id, room.last_seq, false, now).await?;
    }
    let event = NewEvent::message(tenant, Kind::MessageCreated, &message.view, room.agent);
    events::append(tx, now, &[event]).await?;
    Ok(message.view)
}

/// Writes one message into the locked room and, if it goes out, puts it on its way. Moves `room.last_seq`.
///
/// # Errors
/// The database's.
pub async fn write(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &mut LockedRoom,
    writer: &Writer,
    direction: Direction,
    content: &Content,
    now: Moment,
) -> sqlx::Result<MessageView> {
    answer(tx, tenant, room, writer, direction, content, None, now).await
}

/// The same, as an answer to another message.
///
/// # Errors
/// The database's.
#[expect(clippy::too_many_arguments, reason = "what a message is made of")]
pub async fn answer(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &mut LockedRoom,
    writer: &Writer,
    direction: Direction,
    content: &Content,
    reply_to: Option<MessageId>,
    now: Moment,
) -> sqlx::Result<MessageView> {
    let goes_out = direction == Direction::Outbound;
    let view = next(room, writer, direction, content, reply_to, now);
    let message = NewMessage { tenant, widget: room.widget, external_at: None, view };
    store::insert_messages(tx, std::slice::from_ref(&message)).await?;
    if goes_out {
        store::insert_outbox(tx, &message, now).await?;
    }
    store::mark_written(tx, tenant, room.id, room.last_seq, writer.answers && goes_out, now).await?;
    let event = NewEvent::message(tenant, Kind::MessageCreated, &message.view, room.agent);
    events::append(tx, now, &[event]).await?;
    Ok(message.view)
}

/// The next message of a locked room. Moves `room.last_seq`; stores nothing.
#[must_use]
pub fn next(
    room: &mut LockedRoom,
    writer: &Writer,
    direction: Direction,
    content: &Content,
    reply_to: Option<MessageId>,
    now: Moment,
) -> MessageView {
    room.last_seq += 1;
    let goes_out = direction == Direction::Outbound;
    MessageView {
        id: MessageId::fresh(now),
        room_id: room.id,
        seq: room.last_seq,
        direction,
        author: writer.author.clone(),
        content: shown(content),
        reply_to,
        reactions: serde_json::json!([]),
        status: if goes_out { Delivery::Queued } else { Delivery::Received },
        edited_at: None,
        error: None,
        external_id: None,
        created_at: now,
        sent_at: None,
        delivered_at: None,
        read_at: None,
    }
}
