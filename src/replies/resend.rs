//! Sends again what failed or is in doubt, because a person says so: as a new message at the end of the room, for that is where the
//! contact will see it. The old one keeps its place and its status, and names its copy; so asking twice sends once.

use serde_json::Value;

use super::{store, write::Barred};
use crate::{
    channels::Content,
    clock::Moment,
    db::bell::{Bell, Topic},
    ids::{FileId, MessageId, TenantId, UserId},
    media,
    rooms::{
        self, AuthorKind, Delivery, Direction, Status,
        events::shown,
        receipts::{self, Changed},
        say::{self, Writer},
    },
};

/// Why a message is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    /// The tenant has no such message.
    #[error("no such message")]
    NoSuchMessage,
    /// Its room is held by another agent, or by nobody.
    #[error("not the caller's room")]
    NotYours,
    /// Its room is over.
    #[error("the room is closed")]
    Closed,
    /// It has not failed and is not in doubt.
    #[error("the message is {0:?}")]
    NotFailed(Delivery),
    /// Nothing may go out now.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// The message that was sent instead, and whether it is new.
#[derive(Debug)]
pub struct Resent {
    /// The copy.
    pub message: Value,
    /// False if the message had been sent again before.
    pub is_new: bool,
}

/// Sends a message again. `sees_all` lets the caller do so in rooms of others.
///
/// # Errors
/// See [`ResendError`]; nothing is sent then.
pub async fn resend(
    db: &sqlx::PgPool,
    bell: &Bell,
    tenant: TenantId,
    message: MessageId,
    writer: &Writer,
    sees_all: bool,
    now: Moment,
) -> Result<Resent, ResendError> {
    let mut tx = crate::db::begin(db).await?;
    let found = rooms::store::find_message(&mut tx, tenant, message).await?.ok_or(ResendError::NoSuchMessage)?;
    let mut room = rooms::store::lock(&mut tx, tenant, found.room_id).await?.ok_or(ResendError::NoSuchMessage)?;
    let is_bot = writer.author.kind == AuthorKind::Bot;
    let holds = room.status == Status::Active && room.agent.is_some() && room.agent == writer.author.id.map(UserId);
    if !holds && !sees_all && !is_bot {
        return Err(if room.status == Status::Closed && room.agent == writer.author.id.map(UserId) {
            ResendError::Closed
        } else {
            ResendError::NotYours
        });
    }
    // Again, now that the room is locked: somebody else may have been quicker.
    store::resend::lock_message(&mut tx, tenant, message).await?;
    let old = rooms::store::find_message(&mut tx, tenant, message).await?.ok_or(ResendError::NoSuchMessage)?;
    let copy = old.error.as_ref().and_then(|error| error["resent_as"].as_str()?.parse().ok()).map(MessageId);
    if let Some(copy) = copy
        && let Some(view) = rooms::store::find_message(&mut tx, tenant, copy).await?
    {
        return Ok(Resent { message: shown(&view), is_new: false });
    }
    if old.direction != Direction::Outbound || !matches!(old.status, Delivery::Failed | Delivery::Uncertain) {
        return Err(ResendError::NotFailed(old.status));
    }
    if room.status == Status::Closed {
        return Err(ResendError::Closed);
    }
    // The longer window is for what people have written.
    let by_person = !is_bot && old.author.kind == AuthorKind::Agent;
    Barred::check(&room, by_person, now)?;
    let content: Content = serde_json::from_value(old.content).map_err(|_| ResendError::NotFailed(Delivery::Failed))?;
    store::send::clear_unreachable(&mut tx, tenant, room.contact).await?;
    let way = Direction::Outbound;
    let new = say::answer(&mut tx, tenant, &mut room, writer, way, &content, old.reply_to, now).await?;
    // What is taken back is the copy; then its files go.
    for file in content.files() {
        media::store::mark_sent(&mut tx, tenant, FileId(file), Some(message), new.id).await?;
    }
    store::resend::mark_resent(&mut tx, tenant, message, new.id).await?;
    receipts::announce(&mut tx, tenant, &[Changed { message, room: old.room_id }], now).await?;
    tx.commit().await?;
    bell.ring(Topic::Outbox);
    bell.ring(Topic::Events(tenant));
    Ok(Resent { message: shown(&new), is_new: true })
}
