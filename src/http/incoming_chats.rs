//! `/incoming-chats`: which queue a widget's rooms join, and when.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    ids::IncomingChatId,
    people::Staff,
    queues::{
        opening,
        settings::{IncomingChat, IncomingChatInput},
        store::settings as store,
    },
};

/// Adds an incoming chat.
#[utoipa::path(
    post, path = "/api/v1/incoming-chats", tag = "incoming chats", request_body = IncomingChatInput,
    responses((status = 201, body = IncomingChat), (status = 409, description = "The widget has one", body = problem::ProblemBody))
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<IncomingChatInput>,
) -> Result<Created<IncomingChat>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let chat = IncomingChat::new(IncomingChatId::fresh(now), input, now, now);
    let mut tx = crate::db::begin(&app.db).await?;
    store::insert_incoming_chat(&mut tx, staff.tenant, &chat).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "incoming_chat.created", chat.id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(Created(format!("/api/v1/incoming-chats/{}", chat.id), chat))
}

/// All incoming chats of the tenant.
#[utoipa::path(
    get, path = "/api/v1/incoming-chats", tag = "incoming chats", params(Page),
    responses((status = 200, body = List<IncomingChat>))
)]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<IncomingChat>>, Problem> {
    let limit = page.limit()?;
    let found = store::list_incoming_chats(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// An incoming chat.
#[utoipa::path(
    get, path = "/api/v1/incoming-chats/{id}", tag = "incoming chats", params(("id" = IncomingChatId, Path)),
    responses((status = 200, body = IncomingChat))
)]
pub async fn show(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<IncomingChatId>,
) -> Result<Json<IncomingChat>, Problem> {
    let found = store::find_incoming_chat(&app.db, staff.tenant, id).await?;
    found.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Changes an incoming chat: only the given fields. Rooms that wait already stay in their queues; whether they are held follows the hours.
#[utoipa::path(
    patch, path = "/api/v1/incoming-chats/{id}", tag = "incoming chats", params(("id" = IncomingChatId, Path)),
    request_body = IncomingChatInput,
    responses((status = 200, body = IncomingChat), (status = 409, description = "The widget has one", body = problem::ProblemBody))
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<IncomingChatId>,
    RawJson(patch): RawJson,
) -> Result<Json<IncomingChat>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock_incoming_chat(&mut tx, staff.tenant, id).await?;
    let stored = stored.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mut input: IncomingChatInput = patched(serde_json::json!(stored.settings()), &patch)?;
    input.check()?;
    let chat = IncomingChat::new(id, input, stored.created_at, now);
    store::update_incoming_chat(&mut tx, staff.tenant, &chat).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "incoming_chat.changed", id, now).await?;
    opening::hours_changed(&mut tx, staff.tenant, now).await?;
    tx.commit().await?;
    app.settings_changed();
    app.dispatch.ring(staff.tenant);
    Ok(Json(chat))
}

/// Removes an incoming chat. What its widget receives from then on is kept in closed rooms.
#[utoipa::path(
    delete, path = "/api/v1/incoming-chats/{id}", tag = "incoming chats", params(("id" = IncomingChatId, Path)),
    responses((status = 204, description = "Gone"))
)]
pub async fn remove(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<IncomingChatId>,
) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_incoming_chat(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "incoming_chat.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}
