//! `/rooms`: reading them, and whose they are.

use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    App, Shown,
    access::Me,
    extract::{Json as Body, OptionalJson, Path, Query},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    ids::{QueueId, RoomId, UserId},
    people::{Roles, Staff, Who},
    queues::{
        Mover,
        moves::{self, MoveError, Target},
    },
    replies::thread,
    rooms::{
        RoomView, Status,
        events::{self, Kind, NewEvent},
        store::{self, Filter, LockedRoom},
    },
};

/// Most tags on a room, and most characters in one.
const MAX_TAGS: usize = 50;
const MAX_TAG: usize = 100;
/// Most characters in a note.
pub(super) const MAX_NOTE: usize = 10_000;

impl From<MoveError> for Problem {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::NoSuchRoom => Problem::of(problem::NOT_FOUND),
            MoveError::OfferGone => Problem::of(problem::OFFER_GONE),
            MoveError::NotYours => Problem::of(problem::NOT_YOUR_ROOM),
            MoveError::Closed => Problem::of(problem::ROOM_CLOSED),
            MoveError::Invalid(pointer, detail) => Problem::field(pointer, detail),
            MoveError::NotReady => Problem::of(problem::CONFLICT).detail("the agent is not ready"),
            MoveError::Full => Problem::of(problem::AGENT_FULL),
            MoveError::TagRequired => Problem::field("/tags", "this widget requires a tag before a room is closed"),
            MoveError::Db(source) => source.into(),
        }
    }
}

/// The caller as somebody who moves rooms.
pub(super) fn mover(staff: &Staff) -> Mover {
    Mover { id: staff.user(), name: staff.name.clone(), sees_all: staff.sees_all() }
}

/// The room, if the caller may see it: 403 for a colleague's, 404 for another tenant's.
pub(super) async fn visible(app: &App, staff: &Staff, room: RoomId) -> Result<RoomView, Problem> {
    let mut db = app.db.acquire().await?;
    let view = store::find_view(&mut db, staff.tenant, room, app.clock.now())
        .await?
        .ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mine = view.agent.as_ref().map(|it| it.id).or(view.offer.as_ref().map(|it| it.agent_id.0));
    if staff.sees_all() || (mine.is_some() && mine == staff.user().map(|it| it.0)) {
        Ok(view)
    } else {
        Err(Problem::of(problem::NOT_YOUR_ROOM))
    }
}

/// The room, locked, if the caller holds it or sees all, and it is not closed.
pub(super) async fn lock_held(tx: &mut sqlx::PgConnection, staff: &Staff, room: RoomId) -> Result<LockedRoom, Problem> {
    let locked = store::lock(tx, staff.tenant, room).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let holds = locked.agent.is_some() && locked.agent == staff.user() && locked.status != Status::Offered;
    if !holds && !staff.sees_all() {
        return Err(Problem::of(problem::NOT_YOUR_ROOM));
    }
    if locked.status == Status::Closed {
        return Err(Problem::of(problem::ROOM_CLOSED));
    }
    Ok(locked)
}

/// The room, locked, if the caller may answer in it: as [`lock_held`], and API keys in any room.
pub(super) async fn lock_answered(
    tx: &mut sqlx::PgConnection,
    staff: &Staff,
    room: RoomId,
) -> Result<LockedRoom, Problem> {
    let is_key = matches!(staff.who, Who::Key(_));
    let staff = if is_key { &Staff { roles: Roles::SUPERVISOR, ..staff.clone() } } else { staff };
    lock_held(tx, staff, room).await
}

/// What narrows the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// How many items at most, 1–200; 50 by default.
    limit: Option<i64>,
    /// The `next` of the list before.
    after: Option<String>,
    /// One status, or several with commas between them.
    status: Option<String>,
    /// Rooms of this queue.
    queue_id: Option<Uuid>,
    /// Rooms offered to or held by this agent.
    agent_id: Option<Uuid>,
    /// Rooms of this widget.
    widget_id: Option<Uuid>,
    /// Rooms of this contact.
    contact_id: Option<Uuid>,
}

fn statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let one = |it: &str| match it.trim() {
        "waiting" => Ok(Status::Waiting),
        "offered" => Ok(Status::Offered),
        "active" => Ok(Status::Active),
        "closed" => Ok(Status::Closed),
        _ => Err(Problem::field("status", "must be waiting, offered, active or closed")),
    };
    text.split(',').map(one).collect()
}

/// A page of rooms, oldest first.
pub(super) async fn list_page(app: &App, staff: &Staff, filter: &Filter, page: &Page) -> Result<Shown, Problem> {
    let limit = page.limit()?;
    let ids = store::list_ids(&app.db, staff.tenant, filter, page.after()?, limit + 1).await?;
    let mut db = app.db.acquire().await?;
    let views = store::list_views(&mut db, &vec![staff.tenant.0; ids.len()], &ids, app.clock.now()).await?;
    let views = views.into_iter().map(|(_, view)| view).collect();
    Ok(app.show(staff.tenant, &List::of(views, limit, |it: &RoomView| it.id.0)))
}

/// Rooms, oldest first. Agents see those offered to or held by them.
#[utoipa::path(get, path = "/api/v1/rooms", tag = "rooms", params(Narrow), responses((status = 200, body = List<RoomView>)))]
pub async fn list(State(app): State<App>, staff: Staff, Query(narrow): Query<Narrow>) -> Result<Shown, Problem> {
    let own = if staff.sees_all() { None } else { staff.user().map(|it| it.0) };
    if own.is_some() && narrow.agent_id.is_some() && narrow.agent_id != own {
        return Ok(app.show(staff.tenant, &List::<RoomView> { items: Vec::new(), next: None }));
    }
    let filter = Filter {
        status: narrow.status.as_deref().map(statuses).transpose()?,
        queue: narrow.queue_id,
        agent: own.or(narrow.agent_id),
        widget: narrow.widget_id,
        contact: narrow.contact_id,
    };
    list_page(&app, &staff, &filter, &Page { limit: narrow.limit, after: narrow.after }).await
}

/// Rooms offered to me and rooms I hold.
#[utoipa::path(get, path = "/api/v1/me/rooms", tag = "agents", params(Page), responses((status = 200, body = List<RoomView>)))]
pub async fn mine(State(app): State<App>, Me(staff, me): Me, Query(page): Query<Page>) -> Result<Shown, Problem> {
    let filter = Filter { status: Some(vec![Status::Offered, Status::Active]), agent: Some(me.0), ..Filter::default() };
    list_page(&app, &staff, &filter, &page).await
}

/// One room.
#[utoipa::path(get, path = "/api/v1/rooms/{id}", tag = "rooms", params(("id" = RoomId, Path)), responses((status = 200, body = RoomView), (status = 403), (status = 404)))]
pub async fn show(State(app): State<App>, staff: Staff, Path(room): Path<RoomId>) -> Result<Shown, Problem> {
    Ok(app.show(staff.tenant, &visible(&app, &staff, room).await?))
}

/// The offer to me becomes my active room.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/accept", tag = "rooms", params(("id" = RoomId, Path)), responses((status = 200, body = RoomView), (status = 404), (status = 409, description = "the offer is gone")))]
pub async fn accept(State(app): State<App>, Me(staff, me): Me, Path(room): Path<RoomId>) -> Result<Shown, Problem> {
    let view = moves::accept(&app.dispatch, staff.tenant, room, me, app.clock.now()).await?;
    Ok(app.show(staff.tenant, &view))
}

/// The room goes back to its place and rings elsewhere.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/decline", tag = "rooms", params(("id" = RoomId, Path)), responses((status = 200, body = RoomView), (status = 404), (status = 409, description = "the offer is gone")))]
pub async fn decline(State(app): State<App>, Me(staff, me): Me, Path(room): Path<RoomId>) -> Result<Shown, Problem> {
    let view = moves::decline(&app.dispatch, staff.tenant, room, me, app.clock.now()).await?;
    Ok(app.show(staff.tenant, &view))
}

/// Where a room goes: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// To the end of this queue.
    queue_id: Option<QueueId>,
    /// To this agent, as an offer that falls back to the queue.
    agent_id: Option<UserId>,
    /// For the colleague.
    note: Option<String>,
}

/// Hands a room over to a queue or an agent.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/transfer", tag = "rooms", params(("id" = RoomId, Path)), request_body = Transfer, responses((status = 200, body = RoomView), (status = 403), (status = 404), (status = 409), (status = 422)))]
pub async fn transfer(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Body(to): Body<Transfer>,
) -> Result<Shown, Problem> {
    let target = match (to.queue_id, to.agent_id) {
        (Some(queue), None) => Target::Queue(queue),
        (None, Some(agent)) => Target::Agent(agent),
        _ => return Err(Problem::field("/queue_id", "give either queue_id or agent_id")),
    };
    let note = checked_note(to.note)?;
    let view =
        moves::transfer(&app.dispatch, staff.tenant, room, &mover(&staff), target, note.as_deref(), app.clock.now())
            .await?;
    Ok(app.show(staff.tenant, &view))
}

fn checked_note(note: Option<String>) -> Result<Option<String>, Problem> {
    let note = note.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    match &note {
        Some(note) if note.chars().count() > MAX_NOTE => {
            Err(Problem::field("/note", format!("must have at most {MAX_NOTE} characters")))
        }
        Some(note) if note.contains('\0') => Err(Problem::field("/note", "must not contain NUL")),
        _ => Ok(note),
    }
}

/// How a room ends.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Replaces the room's tags.
    tags: Option<Vec<String>>,
    /// For the record.
    note: Option<String>,
}

/// Ends a room: the closing text goes out, the seat is free.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/close", tag = "rooms", params(("id" = RoomId, Path)), request_body = Option<Close>, responses((status = 200, body = RoomView), (status = 403), (status = 404), (status = 409, description = "closed already"), (status = 422, description = "a tag is required")))]
pub async fn close(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    OptionalJson(close): OptionalJson<Close>,
) -> Result<Shown, Problem> {
    let tags = close.tags.map(checked_tags).transpose()?;
    let note = checked_note(close.note)?;
    let view = moves::close(
        &app.dispatch,
        staff.tenant,
        room,
        &mover(&staff),
        tags.as_deref(),
        note.as_deref(),
        app.clock.now(),
    )
    .await?;
    Ok(app.show(staff.tenant, &view))
}

/// Whom a room is given to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The caller by default.
    agent_id: Option<UserId>,
}

/// Takes a room, or gives it to an agent, whoever holds it.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/take", tag = "rooms", params(("id" = RoomId, Path)), request_body = Option<Take>, responses((status = 200, body = RoomView), (status = 404), (status = 409), (status = 422)))]
pub async fn take(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    OptionalJson(take): OptionalJson<Take>,
) -> Result<Shown, Problem> {
    let agent =
        take.agent_id.or(staff.user()).ok_or_else(|| Problem::field("/agent_id", "an API key must name the agent"))?;
    let view = moves::take(&app.dispatch, staff.tenant, room, &mover(&staff), agent, app.clock.now()).await?;
    Ok(app.show(staff.tenant, &view))
}

/// All of a room's tags.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Replaces the room's tags; at most 50, each at most 100 characters.
    tags: Vec<String>,
}

fn checked_tags(tags: Vec<String>) -> Result<Vec<String>, Problem> {
    if tags.len() > MAX_TAGS {
        return Err(Problem::field("/tags", format!("must be at most {MAX_TAGS}")));
    }
    let mut checked: Vec<String> = Vec::with_capacity(tags.len());
    for (at, tag) in tags.into_iter().enumerate() {
        let tag = tag.trim().to_owned();
        if tag.is_empty() || tag.chars().count() > MAX_TAG || tag.chars().any(char::is_control) {
            return Err(Problem::field(
                &format!("/tags/{at}"),
                format!("must have 1–{MAX_TAG} characters and no control characters"),
            ));
        }
        if !checked.contains(&tag) {
            checked.push(tag);
        }
    }
    Ok(checked)
}

/// Sets a room's tags.
#[utoipa::path(put, path = "/api/v1/rooms/{id}/tags", tag = "rooms", params(("id" = RoomId, Path)), request_body = Tags, responses((status = 200, body = RoomView), (status = 403), (status = 404), (status = 409), (status = 422)))]
pub async fn tags(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Body(tags): Body<Tags>,
) -> Result<Shown, Problem> {
    let tags = checked_tags(tags.tags)?;
    let mut tx = crate::db::begin(&app.db).await?;
    lock_held(&mut tx, &staff, room).await?;
    store::mark_tags(&mut tx, staff.tenant, room, &tags).await?;
    let view = updated(&app, &mut tx, &staff, room).await?;
    tx.commit().await?;
    app.ring_events(staff.tenant);
    Ok(app.show(staff.tenant, &view))
}

/// The holder has read everything: `unread` is 0, and the contact sees it.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/seen", tag = "rooms", params(("id" = RoomId, Path)), responses((status = 200, body = RoomView), (status = 403), (status = 404), (status = 409)))]
pub async fn seen(State(app): State<App>, staff: Staff, Path(room): Path<RoomId>) -> Result<Shown, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    let locked = lock_held(&mut tx, &staff, room).await?;
    // A supervisor's look is not the holder's, and a key has no eyes.
    let holds = locked.agent.is_some() && locked.agent == staff.user();
    if holds {
        store::mark_seen(&mut tx, staff.tenant, room).await?;
    }
    let view = updated(&app, &mut tx, &staff, room).await?;
    tx.commit().await?;
    app.ring_events(staff.tenant);
    if holds {
        app.act(staff.tenant, room, crate::channels::messenger::send::SenderAction::MarkSeen);
    }
    Ok(app.show(staff.tenant, &view))
}

/// Whether somebody types.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    /// Types, or has stopped.
    on: bool,
}

/// Shows the contact that the holder types: until they write or say otherwise, at most for a minute after the last call.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/typing", tag = "rooms", params(("id" = RoomId, Path)), request_body = Typing, responses((status = 204), (status = 403), (status = 404), (status = 409)))]
pub async fn typing(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Body(typing): Body<Typing>,
) -> Result<axum::http::StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    lock_answered(&mut tx, &staff, room).await?;
    drop(tx);
    if typing.on {
        app.typing.begin(staff.tenant, room, app.clock.now());
    } else {
        app.typing.end(staff.tenant, room);
    }
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// Takes the contact's thread back from the app that answers it (`thread_owner`); nothing happens if none does. Meta allows it to
/// apps with the right to take control.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/take-thread", tag = "rooms", params(("id" = RoomId, Path)), responses((status = 200, body = RoomView), (status = 403), (status = 404), (status = 409), (status = 503)))]
pub async fn take_thread(State(app): State<App>, staff: Staff, Path(room): Path<RoomId>) -> Result<Shown, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    let is_elsewhere = lock_held(&mut tx, &staff, room).await?.elsewhere(app.clock.now()).is_some();
    // Nothing stays locked while Facebook is asked.
    drop(tx);
    if is_elsewhere {
        thread::take_back(&app.outgoing, staff.tenant, room).await?;
    }
    let mut db = app.db.acquire().await?;
    let view = store::find_view(&mut db, staff.tenant, room, app.clock.now()).await?;
    let view = view.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    Ok(app.show(staff.tenant, &view))
}

async fn updated(app: &App, tx: &mut sqlx::PgConnection, staff: &Staff, room: RoomId) -> Result<RoomView, Problem> {
    let now = app.clock.now();
    let view = store::find_view(tx, staff.tenant, room, now).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    events::append(tx, now, &[NewEvent::room(staff.tenant, Kind::RoomUpdated, &view)]).await?;
    Ok(view)
}

/// Whether the caller is an agent and nothing more.
pub(super) fn only_agent(staff: &Staff) -> bool {
    !staff.roles.meets(Roles::SUPERVISOR.or(Roles::ADMIN)) && !staff.reads
}
