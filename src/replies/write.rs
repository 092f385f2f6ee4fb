//! An agent's reply: checked, stored and put on its way in one transaction.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::PgConnection;

use super::store;
use crate::{
    channels::{
        Content,
        messenger::{limits, plain::plain, send, text},
    },
    clock::Moment,
    db::bell::{Bell, Topic},
    ids::{FileId, MessageId, RoomId, TenantId, UserId},
    media,
    rooms::{
        self, AuthorKind, Direction, MessageView, Status, ThreadOwner, Window, WindowMode, automatic,
        events::shown,
        say::{self, Writer},
        store::LockedRoom,
        window,
    },
};

/// Hours for which the first answer to an Idempotency-Key is given again.
const KEY_HOURS: i64 = 24;

/// A reply as the caller gave it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it says.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// The newest `seq` the caller has seen.
    pub seen_seq: Option<i64>,
    /// The Idempotency-Key with the hash of room and body.
    pub key: Option<(String, [u8; 32])>,
}

/// A window that is closed to one writer, and to whom it is not.
#[derive(Clone, Debug)]
pub struct WindowShut {
    /// As the room shows it.
    pub window: Window,
    /// A person may still answer; the writer was none.
    pub people_until: Option<Moment>,
}

/// Why nothing may go out to a room's contact now, whatever it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Barred {
    /// Messenger does not allow it.
    #[error("the messaging window is closed")]
    WindowClosed(WindowShut),
    /// Another app answers the contact.
    #[error("another app has the thread")]
    Elsewhere(ThreadOwner),
}

impl Barred {
    /// Lets through what a person, or a machine, may send now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(room: &LockedRoom, is_person: bool, now: Moment) -> Result<(), Self> {
        if let Some(shut) = WindowShut::of(room, is_person, now) {
            return Err(Self::WindowClosed(shut));
        }
        room.elsewhere(now).map_or(Ok(()), |owner| Err(Self::Elsewhere(owner)))
    }
}

impl WindowShut {
    /// Whether the room's window is closed to a person, or to a machine.
    #[must_use]
    pub(super) fn of(room: &LockedRoom, is_person: bool, now: Moment) -> Option<Self> {
        // The longer window is for people.
        let mode = |human_agent| window(room.opened, human_agent, now).mode;
        if room.channel != "messenger" || mode(room.human_agent && is_person) != WindowMode::Closed {
            return None;
        }
        let shown = window(room.opened, room.human_agent, now);
        let people_until = shown.human_agent_until.filter(|_| shown.mode != WindowMode::Closed);
        Some(Self { window: shown, people_until })
    }
}

/// Why a reply is not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The tenant has no such room.
    #[error("no such room")]
    NoSuchRoom,
    /// Another agent holds it, or nobody does.
    #[error("not the caller's room")]
    NotYours,
    /// It is over.
    #[error("the room is closed")]
    Closed,
    /// Nothing may go out now.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// Messenger has said that the contact cannot be reached; with the `error` of the message that met it.
    #[error("the contact cannot be reached")]
    Unreachable(Value),
    /// Somebody wrote after `seen_seq`.
    #[error("there are newer messages")]
    Newer(Vec<MessageView>),
    /// Content out of limits: (pointer below the content, detail).
    #[error("the content is invalid")]
    Invalid(Vec<(String, String)>),
    /// The message it answers is not in the room, or the channel does not know it.
    #[error("no message to answer")]
    NothingToAnswer,
    /// The key came with another body before.
    #[error("the idempotency key was used for another body")]
    KeyReused,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// Writes a reply into the caller's room. What Messenger takes in several messages becomes several; the first is returned.
///
/// # Errors
/// See [`WriteError`]; nothing is written then.
pub async fn write(
    db: &sqlx::PgPool,
    bell: &Bell,
    tenant: TenantId,
    room: RoomId,
    writer: &Writer,
    draft: Draft,
    now: Moment,
) -> Result<Value, WriteError> {
    let mut tx = crate::db::begin(db).await?;
    let mut locked = rooms::store::lock(&mut tx, tenant, room).await?.ok_or(WriteError::NoSuchRoom)?;
    if let Some(first) = find_first(&mut tx, tenant, writer, &draft, now).await? {
        return Ok(first);
    }
    check_place(&locked, writer, &draft.content, now)?;
    check_seen(&mut tx, tenant, &locked, writer, &draft).await?;
    let mut reply_to = find_answered(&mut tx, tenant, room, draft.reply_to).await?;
    let mut content = prepare(&mut tx, tenant, &locked, writer, draft.content, now).await?;
    if locked.plain_only {
        content = plain(content);
    }
    take_files(&mut tx, tenant, room, writer, &mut content).await?;
    let mut first = None;
    for part in send::split(content) {
        // The first part is the answer, the others go on from it.
        let (way, answered) = (Direction::Outbound, reply_to.take());
        let message = say::answer(&mut tx, tenant, &mut locked, writer, way, &part, answered, now).await?;
        for file in part.files() {
            media::store::mark_sent(&mut tx, tenant, FileId(file), None, message.id).await?;
        }
        first.get_or_insert(message);
    }
    let first = first
        .map(|it| shown(&it))
        .ok_or_else(|| WriteError::Invalid(vec![(String::new(), "says nothing".to_owned())]))?;
    if let Some((key, hash)) = &draft.key {
        store::insert_key(&mut tx, tenant, writer.author.id.unwrap_or_default(), key, hash, &first, now).await?;
    }
    tx.commit().await?;
    bell.ring(Topic::Outbox);
    bell.ring(Topic::Events(tenant));
    Ok(first)
}

/// The message to answer, if the channel knows it.
async fn find_answered(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    message: Option<MessageId>,
) -> Result<Option<MessageId>, WriteError> {
    let Some(id) = message else { return Ok(None) };
    let found = rooms::store::find_message(tx, tenant, id).await?;
    let is_known = found.is_some_and(|it| it.room_id == room && it.external_id.is_some());
    if is_known { Ok(Some(id)) } else { Err(WriteError::NothingToAnswer) }
}

/// Puts what we know of files in the place of their ids. An upload can be sent once, in the room it was uploaded for; what contacts sent
/// can be passed on by whose rooms those are.
async fn take_files(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    writer: &Writer,
    content: &mut Content,
) -> Result<(), WriteError> {
    let Content::Attachments { attachments, .. } = content else { return Ok(()) };
    let is_bot = writer.author.kind == AuthorKind::Bot;
    let agent = writer.author.id.filter(|_| !is_bot).map(UserId);
    let (mut wrong, mut taken) = (Vec::new(), HashSet::new());
    for (index, attachment) in attachments.iter_mut().enumerate() {
        let Some(id) = attachment.id else { continue };
        match media::store::lock_sendable(tx, tenant, room, agent, FileId(id)).await?.filter(|_| taken.insert(id)) {
            Some(file) if file.kind == attachment.kind => *attachment = media::attachment(&file),
            Some(file) => {
                wrong.push((format!("/attachments/{index}/type"), format!("is {} as we have it", file.kind.as_str())));
            }
            None => wrong.push((
                format!("/attachments/{index}/id"),
                "names neither an unsent upload of this room nor what a contact sent in a room of yours".to_owned(),
            )),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(WriteError::Invalid(wrong)) }
}

/// The first answer to the same key, if there was one.
async fn find_first(
    tx: &mut PgConnection,
    tenant: TenantId,
    writer: &Writer,
    draft: &Draft,
    now: Moment,
) -> Result<Option<Value>, WriteError> {
    let Some((key, hash)) = &draft.key else { return Ok(None) };
    let caller = writer.author.id.unwrap_or_default();
    match store::find_key(tx, tenant, caller, key, keys_since(now)).await? {
        None => Ok(None),
        Some((known, answer)) if known == hash => Ok(Some(answer)),
        Some(_) => Err(WriteError::KeyReused),
    }
}

/// Keys that were used since then count.
pub(super) fn keys_since(now: Moment) -> Moment {
    now - chrono::TimeDelta::hours(KEY_HOURS)
}

/// Whether the writer may write this into the room now, as far as the room says.
///
/// # Errors
/// Why not.
pub(super) fn check_place(
    room: &LockedRoom,
    writer: &Writer,
    content: &Content,
    now: Moment,
) -> Result<(), WriteError> {
    let holds = room.status == Status::Active && room.agent.is_some() && room.agent == writer.author.id.map(UserId);
    let is_bot = writer.author.kind == AuthorKind::Bot;
    if room.status == Status::Closed && (is_bot || room.agent == writer.author.id.map(UserId)) {
        return Err(WriteError::Closed);
    }
    if !holds && !is_bot {
        return Err(WriteError::NotYours);
    }
    let errors = limits::check(content);
    if !errors.is_empty() {
        return Err(WriteError::Invalid(errors));
    }
    Barred::check(room, !is_bot, now)?;
    room.unreachable.as_ref().map_or(Ok(()), |error| Err(WriteError::Unreachable(error.clone())))
}

/// Holds the reply back if somebody wrote what the caller has not seen.
async fn check_seen(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &LockedRoom,
    writer: &Writer,
    draft: &Draft,
) -> Result<(), WriteError> {
    let Some(seen) = draft.seen_seq else { return Ok(()) };
    // What the caller wrote themselves, and what the gateway said by itself, they need not have seen.
    let newer = rooms::store::list_messages(tx, tenant, room.id, Some(seen), None, 50).await?;
    let newer: Vec<_> = newer
        .into_iter()
        .filter(|it| {
            it.direction != Direction::System
                && it.author.kind != AuthorKind::System
                && it.author.id != writer.author.id
        })
        .collect();
    if newer.is_empty() { Ok(()) } else { Err(WriteError::Newer(newer)) }
}

/// The keywords `Email` and `Phone` ask for the contact's field; a question without words gets the widget's.
async fn prepare(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &LockedRoom,
    writer: &Writer,
    content: Content,
    now: Moment,
) -> sqlx::Result<Content> {
    let content = match &content {
        Content::Text { text } => match text::keyword(text) {
            Some(field) => Content::RequestField { field, text: None },
            None => content,
        },
        _ => content,
    };
    let Content::RequestField { field, text: None } = content else { return Ok(content) };
    let prompt = automatic::prompt(tx, tenant, room, field, &writer.author.name, now).await?;
    Ok(Content::RequestField { field, text: Some(prompt) })
}
