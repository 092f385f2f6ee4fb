//! `/users`: the people of a tenant.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};

use super::{
    App, access,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    ids::UserId,
    people::{
        Staff, store,
        users::{self, AgentStatus, NewPassword, User, UserInput},
    },
    queues::presence,
    secret::{Secret, fingerprint},
};

/// Adds a user.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", request_body = UserInput,
    responses((status = 201, body = User), (status = 409, description = "The e-mail address is taken", body = problem::ProblemBody))
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<UserInput>,
) -> Result<Created<User>, Problem> {
    input.check(true)?;
    let (now, password) = (app.clock.now(), input.password.take().unwrap_or_else(|| Secret::new("")));
    let hash = app.passwords.hash(&password).await?;
    let mut tx = crate::db::begin(&app.db).await?;
    let user = users::create(&mut tx, staff.tenant, input, &hash, now).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "user.created", user.id, now).await?;
    tx.commit().await?;
    Ok(Created(format!("/api/v1/users/{}", user.id), user))
}

/// All users of the tenant.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(Page), responses((status = 200, body = List<User>)))]
pub async fn list(State(app): State<App>, staff: Staff, Query(page): Query<Page>) -> Result<Json<List<User>>, Problem> {
    let limit = page.limit()?;
    let found = store::list_users(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// A user.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)), responses((status = 200, body = User))
)]
pub async fn show(State(app): State<App>, staff: Staff, Path(id): Path<UserId>) -> Result<Json<User>, Problem> {
    let found = store::find_user(&app.db, staff.tenant, id).await?;
    found.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Changes a user: only the given fields. Deactivating ends all sessions, a new password all but the caller's own.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)), request_body = UserInput,
    responses(
        (status = 200, body = User),
        (status = 409, description = "The e-mail address is taken, or this is the last admin", body = problem::ProblemBody),
    )
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<UserId>,
    headers: HeaderMap,
    RawJson(patch): RawJson,
) -> Result<Json<User>, Problem> {
    let gone = || Problem::of(problem::NOT_FOUND);
    let read = |stored: &User| -> Result<UserInput, Problem> {
        let mut input: UserInput = patched(serde_json::json!(stored.settings()), &patch)?;
        input.check(false)?;
        Ok(input)
    };
    // The password is hashed before the transaction, which holds a lock and a connection.
    let before = store::find_user(&app.db, staff.tenant, id).await?.ok_or_else(gone)?;
    let input = read(&before)?;
    let hash = match &input.password {
        Some(password) => Some(app.passwords.hash(password).await?),
        None => None,
    };
    let own = (staff.user() == Some(id)).then(|| access::credentials(&headers)).flatten().map(|it| fingerprint(&it));
    let new_password = hash.as_deref().map(|hash| NewPassword { hash, kept_session: own.as_ref() });
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    if before.status != AgentStatus::Offline && !input.answers() {
        presence::leave(&mut tx, staff.tenant, id, now).await?;
    }
    let stored = store::lock_user(&mut tx, staff.tenant, id).await?.ok_or_else(gone)?;
    let input = read(&stored)?;
    let user = users::change(&mut tx, staff.tenant, stored, input, new_password, now).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "user.changed", id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    app.dispatch.ring(staff.tenant);
    Ok(Json(user))
}

/// Removes a user with their sessions. A user who has or had rooms can only be deactivated.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 409, description = "The last admin, or somebody with rooms", body = problem::ProblemBody),
    )
)]
pub async fn remove(State(app): State<App>, staff: Staff, Path(id): Path<UserId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    let user = store::lock_user(&mut tx, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    users::remove(&mut tx, staff.tenant, &user).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "user.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}
