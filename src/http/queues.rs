//! `/queues` and their members.

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
    ids::{QueueId, UserId},
    people::{self, Role, Staff},
    queues::{
        settings::{Member, MemberInput, Queue, QueueInput},
        store::settings as store,
    },
};

/// Adds a queue.
#[utoipa::path(
    post, path = "/api/v1/queues", tag = "queues", request_body = QueueInput,
    responses((status = 201, body = Queue), (status = 409, description = "The name is taken", body = problem::ProblemBody))
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<QueueInput>,
) -> Result<Created<Queue>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let queue = Queue { id: QueueId::fresh(now), settings: input, created_at: now, updated_at: now };
    let mut tx = crate::db::begin(&app.db).await?;
    store::insert_queue(&mut tx, staff.tenant, &queue).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "queue.created", queue.id, now).await?;
    tx.commit().await?;
    Ok(Created(format!("/api/v1/queues/{}", queue.id), queue))
}

/// All queues of the tenant.
#[utoipa::path(get, path = "/api/v1/queues", tag = "queues", params(Page), responses((status = 200, body = List<Queue>)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<Queue>>, Problem> {
    let limit = page.limit()?;
    let found = store::list_queues(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// A queue.
#[utoipa::path(
    get, path = "/api/v1/queues/{id}", tag = "queues", params(("id" = QueueId, Path)), responses((status = 200, body = Queue))
)]
pub async fn show(State(app): State<App>, staff: Staff, Path(id): Path<QueueId>) -> Result<Json<Queue>, Problem> {
    let found = store::find_queue(&app.db, staff.tenant, id).await?;
    found.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Changes a queue: only the given fields.
#[utoipa::path(
    patch, path = "/api/v1/queues/{id}", tag = "queues", params(("id" = QueueId, Path)), request_body = QueueInput,
    responses((status = 200, body = Queue), (status = 409, description = "The name is taken", body = problem::ProblemBody))
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<QueueId>,
    RawJson(patch): RawJson,
) -> Result<Json<Queue>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock_queue(&mut tx, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mut input: QueueInput = patched(serde_json::json!(stored.settings), &patch)?;
    input.check()?;
    let queue = Queue { id, settings: input, created_at: stored.created_at, updated_at: now };
    store::update_queue(&mut tx, staff.tenant, &queue).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "queue.changed", id, now).await?;
    tx.commit().await?;
    app.queues_changed(staff.tenant);
    Ok(Json(queue))
}

/// Removes a queue that nothing refers to, with its memberships.
#[utoipa::path(
    delete, path = "/api/v1/queues/{id}", tag = "queues", params(("id" = QueueId, Path)),
    responses((status = 204, description = "Gone"), (status = 409, description = "Still in use", body = problem::ProblemBody))
)]
pub async fn remove(State(app): State<App>, staff: Staff, Path(id): Path<QueueId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_queue(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "queue.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The agents of a queue.
#[utoipa::path(
    get, path = "/api/v1/queues/{id}/members", tag = "queues", params(("id" = QueueId, Path), Page),
    responses((status = 200, body = List<Member>))
)]
pub async fn members(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<QueueId>,
    Query(page): Query<Page>,
) -> Result<Json<List<Member>>, Problem> {
    let limit = page.limit()?;
    store::find_queue(&app.db, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let found = store::list_members(&app.db, staff.tenant, id, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.user_id.0)))
}

/// Puts an agent into a queue, or changes the priority there.
#[utoipa::path(
    put, path = "/api/v1/queues/{id}/members/{user_id}", tag = "queues",
    params(("id" = QueueId, Path), ("user_id" = UserId, Path)), request_body = MemberInput,
    responses(
        (status = 200, description = "Was a member", body = Member),
        (status = 201, description = "Is a member now", body = Member),
    )
)]
pub async fn put_member(
    State(app): State<App>,
    staff: Staff,
    Path((queue, user)): Path<(QueueId, UserId)>,
    Body(input): Body<MemberInput>,
) -> Result<axum::response::Response, Problem> {
    use axum::response::IntoResponse;
    input.check()?;
    let (now, gone) = (app.clock.now(), || Problem::of(problem::NOT_FOUND));
    let mut tx = crate::db::begin(&app.db).await?;
    // Locked, so that the agent role cannot go at the same moment.
    let found = people::store::lock_user(&mut tx, staff.tenant, user).await?.ok_or_else(gone)?;
    store::lock_queue(&mut tx, staff.tenant, queue).await?.ok_or_else(gone)?;
    if !found.roles.contains(&Role::Agent) {
        return Err(Problem::field("user_id", "the user is no agent: give them the role first"));
    }
    let is_new = store::put_member(&mut tx, staff.tenant, queue, user, input.priority).await?;
    let target = format!("{queue}/{user}");
    audit::note(&mut tx, staff.tenant, &staff.actor(), "queue.member_set", target, now).await?;
    tx.commit().await?;
    app.queues_changed(staff.tenant);
    let member = Member { user_id: user, name: found.name, priority: input.priority };
    Ok(if is_new {
        Created(format!("/api/v1/queues/{queue}/members/{user}"), member).into_response()
    } else {
        Json(member).into_response()
    })
}

/// Takes an agent out of a queue. Their rooms stay theirs.
#[utoipa::path(
    delete, path = "/api/v1/queues/{id}/members/{user_id}", tag = "queues",
    params(("id" = QueueId, Path), ("user_id" = UserId, Path)), responses((status = 204, description = "No member any more"))
)]
pub async fn remove_member(
    State(app): State<App>,
    staff: Staff,
    Path((queue, user)): Path<(QueueId, UserId)>,
) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_member(&mut tx, staff.tenant, queue, user).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    let target = format!("{queue}/{user}");
    audit::note(&mut tx, staff.tenant, &staff.actor(), "queue.member_removed", target, app.clock.now()).await?;
    tx.commit().await?;
    app.queues_changed(staff.tenant);
    Ok(StatusCode::NO_CONTENT)
}
