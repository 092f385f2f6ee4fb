//! `/working-hours`: when a tenant is open.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    check::{Faults, Invalid},
    hours::{
        DayInterval, Exception, Schedule, Status,
        store::{self, WorkingHours},
    },
    ids::HoursId,
    people::Staff,
    queues::opening,
};

/// What can be set about working hours.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkingHoursInput {
    /// Their name.
    #[schema(example = "Office", min_length = 1, max_length = 200)]
    name: String,
    /// IANA name of the zone whose wall clock the times are read from.
    #[schema(example = "Europe/Istanbul")]
    time_zone: String,
    /// The ordinary week; may be empty.
    #[serde(default)]
    intervals: Vec<DayInterval>,
    /// Dates on which the ordinary day does not count.
    #[serde(default)]
    exceptions: Vec<Exception>,
    /// Language in which times are told to contacts whose own is not known; null: English.
    #[serde(default)]
    #[schema(example = "tr-TR")]
    locale: Option<String>,
}

/// The question whether it is open.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct At {
    /// At which moment, RFC 3339; now by default.
    #[param(value_type = Option<DateTime<Utc>>, example = "2026-11-20T09:15:02Z")]
    at: Option<String>,
}

impl WorkingHoursInput {
    fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        faults.name("/name", &mut self.name);
        let Self { time_zone, intervals, exceptions, locale, .. } = self;
        let schedule = Schedule {
            time_zone: time_zone.clone(),
            intervals: intervals.clone(),
            exceptions: exceptions.clone(),
            locale: locale.clone(),
        };
        faults.add_all("", schedule.check());
        faults.done()
    }
}

/// Adds working hours.
#[utoipa::path(
    post, path = "/api/v1/working-hours", tag = "working hours", request_body = WorkingHoursInput,
    responses((status = 201, body = WorkingHours))
)]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<WorkingHoursInput>,
) -> Result<Created<WorkingHours>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let WorkingHoursInput { name, time_zone, intervals, exceptions, locale } = input;
    let id = HoursId::fresh(now);
    let hours = WorkingHours { id, name, time_zone, intervals, exceptions, locale, created_at: now, updated_at: now };
    let mut tx = crate::db::begin(&app.db).await?;
    store::insert(&mut tx, staff.tenant, &hours).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "working_hours.created", id, now).await?;
    tx.commit().await?;
    Ok(Created(format!("/api/v1/working-hours/{id}"), hours))
}

/// All working hours of the tenant.
#[utoipa::path(
    get, path = "/api/v1/working-hours", tag = "working hours", params(Page),
    responses((status = 200, body = List<WorkingHours>))
)]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<WorkingHours>>, Problem> {
    let limit = page.limit()?;
    let found = store::list(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// Working hours.
#[utoipa::path(
    get, path = "/api/v1/working-hours/{id}", tag = "working hours", params(("id" = HoursId, Path)),
    responses((status = 200, body = WorkingHours))
)]
pub async fn show(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<HoursId>,
) -> Result<Json<WorkingHours>, Problem> {
    let found = store::find(&app.db, staff.tenant, id).await?;
    found.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Whether it is open, since when and until when.
#[utoipa::path(
    get, path = "/api/v1/working-hours/{id}/status", tag = "working hours", params(("id" = HoursId, Path), At),
    responses((status = 200, body = Status), (status = 422, description = "`at` is no moment", body = problem::ProblemBody))
)]
pub async fn status(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<HoursId>,
    Query(At { at }): Query<At>,
) -> Result<Json<Status>, Problem> {
    let at = match at {
        None => app.clock.now(),
        Some(at) => DateTime::parse_from_rfc3339(&at)
            .map_err(|_| Problem::field("at", "must be a moment such as 2026-11-20T09:15:02Z"))?
            .with_timezone(&Utc),
    };
    let found = store::find(&app.db, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let hours = found.schedule().parse().map_err(Problem::internal)?;
    Ok(Json(hours.status(at)))
}

/// Changes working hours: only the given fields; lists are replaced whole.
#[utoipa::path(
    patch, path = "/api/v1/working-hours/{id}", tag = "working hours", params(("id" = HoursId, Path)),
    request_body = WorkingHoursInput, responses((status = 200, body = WorkingHours))
)]
pub async fn change(
    State(app): State<App>,
    staff: Staff,
    Path(id): Path<HoursId>,
    RawJson(patch): RawJson,
) -> Result<Json<WorkingHours>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock(&mut tx, staff.tenant, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let WorkingHours { name, time_zone, intervals, exceptions, locale, created_at, .. } = stored;
    let settings = WorkingHoursInput { name, time_zone, intervals, exceptions, locale };
    let mut input: WorkingHoursInput = patched(serde_json::json!(settings), &patch)?;
    input.check()?;
    let WorkingHoursInput { name, time_zone, intervals, exceptions, locale } = input;
    let hours = WorkingHours { id, name, time_zone, intervals, exceptions, locale, created_at, updated_at: now };
    store::update(&mut tx, staff.tenant, &hours).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "working_hours.changed", id, now).await?;
    opening::hours_changed(&mut tx, staff.tenant, now).await?;
    tx.commit().await?;
    app.settings_changed();
    app.dispatch.ring(staff.tenant);
    Ok(Json(hours))
}

/// Removes working hours that no incoming chat follows.
#[utoipa::path(
    delete, path = "/api/v1/working-hours/{id}", tag = "working hours", params(("id" = HoursId, Path)),
    responses((status = 204, description = "Gone"), (status = 409, description = "Still in use", body = problem::ProblemBody))
)]
pub async fn remove(State(app): State<App>, staff: Staff, Path(id): Path<HoursId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "working_hours.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
