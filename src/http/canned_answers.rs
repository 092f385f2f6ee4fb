//! `/canned-answers`: texts that agents have at hand.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    desk::{CannedAnswer, CannedAnswerInput, CannedError, store},
    ids::{CannedAnswerId, QueueId},
    people::Staff,
};

impl From<CannedError> for Problem {
    fn from(error: CannedError) -> Self {
        match error {
            CannedError::ShortcutTaken => {
                Problem::of(problem::CONFLICT).detail("the queue has another canned answer with this shortcut")
            }
            CannedError::NoSuchQueue => Problem::field("/queue_id", "is no queue of this tenant"),
            CannedError::Db(source) => source.into(),
        }
    }
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
    /// What is at hand in this queue's rooms: its own and those for all.
    queue_id: Option<QueueId>,
}

/// Adds a canned answer.
#[utoipa::path(
    post, path = "/api/v1/canned-answers", tag = "canned answers", request_body = CannedAnswerInput,
    responses((status = 201, body = CannedAnswer), (status = 409, description = "The shortcut is taken", body = problem::ProblemBody))
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<CannedAnswerInput>,
) -> Result<Created<CannedAnswer>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let answer = CannedAnswer::new(CannedAnswerId::fresh(now), input, now, now);
    let mut tx = crate::db::begin(&app.db).await?;
    store::insert(&mut tx, staff.tenant, &answer).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "canned_answer.created", answer.id, now).await?;
    tx.commit().await?;
    Ok(Created(format!("/api/v1/canned-answers/{}", answer.id), answer))
}

/// The tenant's canned answers.
#[utoipa::path(
    get, path = "/api/v1/canned-answers", tag = "canned answers", params(Narrow),
    responses((status = 200, body = List<CannedAnswer>))
)]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(narrow): Query<Narrow>,
) -> Result<Json<List<CannedAnswer>>, Problem> {
    let page = Page { limit: narrow.limit, after: narrow.after };
    let limit = page.limit()?;
    let found = store::list(&app.db, staff.tenant, narrow.queue_id, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// A canned answer.
#[utoipa::path(
    get, path = "/api/v1/canned-answers/{id}", tag = "canned answers", params(("id" = CannedAnswerId, Path)),
    responses((status = 200, body = CannedAnswer))
)]
pub async fn show(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<CannedAnswerId>,
) -> Result<Json<CannedAnswer>, Problem> {
    let mut db = app.db.acquire().await?;
    store::find(&mut db, staff.tenant, id).await?.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Changes a canned answer: only the given fields.
#[utoipa::path(
    patch, path = "/api/v1/canned-answers/{id}", tag = "canned answers", params(("id" = CannedAnswerId, Path)),
    request_body = CannedAnswerInput,
    responses((status = 200, body = CannedAnswer), (status = 409, description = "The shortcut is taken", body = problem::ProblemBody))
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<CannedAnswerId>,
    RawJson(patch): RawJson,
) -> Result<Json<CannedAnswer>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock(&mut tx, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mut input: CannedAnswerInput = patched(serde_json::json!(stored.settings()), &patch)?;
    input.check()?;
    let answer = CannedAnswer::new(id, input, stored.created_at, now);
    store::update(&mut tx, staff.tenant, &answer).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "canned_answer.changed", id, now).await?;
    tx.commit().await?;
    Ok(Json(answer))
}

/// Removes a canned answer.
#[utoipa::path(
    delete, path = "/api/v1/canned-answers/{id}", tag = "canned answers", params(("id" = CannedAnswerId, Path)),
    responses((status = 204, description = "Gone"))
)]
pub async fn remove(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<CannedAnswerId>,
) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "canned_answer.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
