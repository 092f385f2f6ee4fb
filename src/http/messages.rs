//! `/rooms/{id}/messages` and `/rooms/{id}/notes`: what is said.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Shown,
    extract::{Json as Body, Path, Query, RawJson, parse},
    page::{DEFAULT_LIMIT, MAX_LIMIT},
    problem::{self, Problem},
    rooms::{MAX_NOTE, lock_held, visible},
};
use crate::{
    channels::Content,
    clock,
    ids::{MessageId, RoomId, TenantId},
    people::{Staff, Who},
    replies::{
        resend::{self, ResendError},
        write::{Barred, Draft, WindowShut, WriteError},
    },
    rooms::{Direction, MessageView, events::shown, say, say::Writer, store},
};

/// Longest Idempotency-Key, in characters.
const MAX_KEY: usize = 255;

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoSuchRoom => Problem::of(problem::NOT_FOUND),
            WriteError::NotYours => Problem::of(problem::NOT_YOUR_ROOM),
            WriteError::Closed => Problem::of(problem::ROOM_CLOSED),
            WriteError::Barred(why) => why.into(),
            WriteError::Unreachable(error) => {
                let detail = error["detail"].as_str().unwrap_or_default().to_owned();
                let (code, subcode) = (error["meta_code"].clone(), error["meta_subcode"].clone());
                Problem::of(problem::CONTACT_UNREACHABLE)
                    .detail(format!("Facebook said: {detail} Replies go out again once the contact has written."))
                    .with("meta_code", code)
                    .with("meta_subcode", subcode)
            }
            WriteError::Newer(_) => Problem::of(problem::NEWER_MESSAGES),
            WriteError::Invalid(errors) => {
                Problem::invalid(errors.into_iter().map(|(pointer, detail)| (format!("/content{pointer}"), detail)))
            }
            WriteError::NothingToAnswer => {
                Problem::field("/reply_to", "names no message of this room that Messenger knows")
            }
            WriteError::KeyReused => Problem::of(problem::IDEMPOTENCY_MISMATCH),
            WriteError::Db(source) => source.into(),
        }
    }
}

impl From<ResendError> for Problem {
    fn from(error: ResendError) -> Self {
        match error {
            ResendError::NoSuchMessage => Problem::of(problem::NOT_FOUND),
            ResendError::NotYours => Problem::of(problem::NOT_YOUR_ROOM),
            ResendError::Closed => Problem::of(problem::ROOM_CLOSED),
            ResendError::NotFailed(status) => {
                let status = shown(&status);
                let status = status.as_str().unwrap_or_default().to_owned();
                Problem::of(problem::CONFLICT)
                    .detail(format!("Only messages that are failed or uncertain are sent again; this one is {status}."))
            }
            ResendError::Barred(why) => why.into(),
            ResendError::Db(source) => source.into(),
        }
    }
}

impl From<Barred> for Problem {
    fn from(why: Barred) -> Self {
        match why {
            Barred::Elsewhere(owner) => Problem::of(problem::THREAD_ELSEWHERE).with("thread_owner", shown(&owner)),
            Barred::WindowClosed(shut) => window_closed(&shut),
        }
    }
}

/// What is closed, until when it was open, and what is still allowed.
pub(super) fn window_closed(shut: &WindowShut) -> Problem {
    let (detail, allowed) = match shut.people_until {
        Some(until) => {
            (format!("Only what a person writes may still go out, until {}.", clock::show(until)), vec!["human_agent"])
        }
        None => ("Nothing may go out before the contact writes again.".to_owned(), vec![]),
    };
    Problem::of(problem::WINDOW_CLOSED)
        .detail(detail)
        .with("window", shown(&shut.window))
        .with("allowed", shown(&allowed))
}

/// Which messages: pages by `seq`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// Only with a greater `seq`.
    after: Option<i64>,
    /// Only with a smaller `seq`: the newest of those.
    before: Option<i64>,
    /// How many at most, 1–200; 50 by default.
    limit: Option<i64>,
}

/// Messages of a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct Messages {
    /// In order of `seq`.
    items: Vec<MessageView>,
    /// Give it as `after` to go on; null at the end.
    next: Option<String>,
}

/// A room's messages in order of `seq`.
#[utoipa::path(get, path = "/api/v1/rooms/{id}/messages", tag = "rooms", params(("id" = RoomId, Path), Between), responses((status = 200, body = Messages), (status = 403), (status = 404)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Query(between): Query<Between>,
) -> Result<Shown, Problem> {
    visible(&app, &staff, room).await?;
    let limit = between.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::field("limit", "must be 1–200"));
    }
    let mut db = app.db.acquire().await?;
    let mut items = store::list_messages(&mut db, staff.tenant, room, between.after, between.before, limit + 1).await?;
    let more = i64::try_from(items.len()).unwrap_or(0) > limit;
    if more && between.before.is_some() {
        items.remove(0);
    } else if more {
        items.pop();
    }
    let next = items.last().filter(|_| more && between.before.is_none()).map(|it| it.seq.to_string());
    Ok(app.show(staff.tenant, &Messages { items, next }))
}

/// A reply.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// What it says. A text that is exactly `Email` or `Phone` asks for that field.
    content: Content,
    /// The message it answers: one of the room that Messenger knows (it has an `external_id`). Long replies answer with their first part.
    reply_to: Option<MessageId>,
    /// The newest `seq` you have seen: if somebody wrote after it, the reply is held back with 409.
    seen_seq: Option<i64>,
}

/// Replies in my room. What Messenger takes in several messages becomes several; the first is the answer.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/messages", tag = "rooms",
    params(("id" = RoomId, Path), ("Idempotency-Key" = Option<String>, Header, description = "the same key and body within 24 h give the first answer again")),
    request_body = Reply,
    responses((status = 201, body = MessageView), (status = 403), (status = 404), (status = 409, description = "closed room, closed window, or newer messages"), (status = 422)),
)]
pub async fn write(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    headers: HeaderMap,
    RawJson(body): RawJson,
) -> Result<Response, Problem> {
    let mut reply: Reply = parse(&body)?;
    app.media.links.name_files(&mut reply.content);
    let key = idempotency_key(&headers, room, &body)?;
    let draft = Draft { content: reply.content, reply_to: reply.reply_to, seen_seq: reply.seen_seq, key };
    let written = app.replies.write(staff.tenant, room, writer(&staff), draft).await;
    let message = match written {
        Err(WriteError::Newer(messages)) => {
            let newer: Vec<_> = messages.iter().map(|it| app.show(staff.tenant, it).0).collect();
            return Err(Problem::of(problem::NEWER_MESSAGES).with("messages", newer.into()));
        }
        written => written?,
    };
    app.typing.written(staff.tenant, room);
    Ok(created(&app, staff.tenant, &message))
}

/// Sends a message again that has failed or is in doubt: as a new message of yours at the end of the room. The old one keeps its place
/// and names the copy in `error.resent_as`; asking again returns the copy.
#[utoipa::path(
    post, path = "/api/v1/messages/{id}/resend", tag = "rooms", params(("id" = MessageId, Path)),
    responses(
        (status = 201, body = MessageView, description = "the copy"),
        (status = 200, body = MessageView, description = "the copy that was sent before"),
        (status = 403), (status = 404),
        (status = 409, description = "neither failed nor uncertain, closed room, or closed window"),
    ),
)]
pub async fn resend(State(app): State<App>, staff: Staff, Path(message): Path<MessageId>) -> Result<Response, Problem> {
    let (writer, now) = (writer(&staff), app.clock.now());
    let resent = resend::resend(&app.db, &app.bell, staff.tenant, message, &writer, staff.sees_all(), now).await?;
    Ok(if resent.is_new {
        created(&app, staff.tenant, &resent.message)
    } else {
        app.show(staff.tenant, &resent.message).into_response()
    })
}

fn idempotency_key(headers: &HeaderMap, room: RoomId, body: &[u8]) -> Result<Option<(String, [u8; 32])>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|it| !it.is_empty() && it.len() <= MAX_KEY);
    let key =
        key.ok_or_else(|| Problem::field("Idempotency-Key", format!("must be 1–{MAX_KEY} visible ASCII characters")))?;
    let hash = Sha256::new().chain_update(room.0.as_bytes()).chain_update(body).finalize();
    Ok(Some((key.to_owned(), hash.into())))
}

fn writer(staff: &Staff) -> Writer {
    match staff.who {
        Who::User(id) => Writer::agent(id, &staff.name),
        Who::Key(id) => Writer::bot(id.0, &staff.name),
    }
}

fn created(app: &App, tenant: TenantId, message: &Value) -> Response {
    let (room, seq) = (message["room_id"].as_str().unwrap_or_default(), message["seq"].as_i64().unwrap_or_default());
    let location = format!("/api/v1/rooms/{room}/messages?after={}&limit=1", seq - 1);
    (StatusCode::CREATED, [(header::LOCATION, location)], app.show(tenant, message)).into_response()
}

/// An internal note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// 1–10,000 characters; never sent.
    text: String,
}

/// Writes an internal note into the room.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/notes", tag = "rooms", params(("id" = RoomId, Path)), request_body = Note, responses((status = 201, body = MessageView), (status = 403), (status = 404), (status = 409), (status = 422)))]
pub async fn note(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Body(note): Body<Note>,
) -> Result<Response, Problem> {
    let text = note.text.trim().to_owned();
    if text.is_empty() || text.chars().count() > MAX_NOTE || text.contains('\0') {
        return Err(Problem::field("/text", format!("must have 1–{MAX_NOTE} characters and no NUL")));
    }
    let mut tx = crate::db::begin(&app.db).await?;
    let mut locked = lock_held(&mut tx, &staff, room).await?;
    let content = Content::Text { text };
    let message =
        say::write(&mut tx, staff.tenant, &mut locked, &writer(&staff), Direction::Note, &content, app.clock.now())
            .await?;
    tx.commit().await?;
    app.ring_events(staff.tenant);
    Ok(created(&app, staff.tenant, &shown(&message)))
}
