//! `/rooms/{id}/routing`: how a room came to where it is, and why.

use axum::{Json, extract::State};
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    App,
    extract::{Path, Query},
    page::Page,
    problem::{self, Problem},
    rooms::visible,
};
use crate::{
    ids::RoomId,
    people::{Roles, Staff},
    queues::story::{self, Story},
    rooms,
};

/// What part of the story, and how its times are shown.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// How many decisions at most, 1–200; 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of the part before.
    after: Option<String>,
    /// IANA zone of the times in the sentences; UTC by default.
    #[param(example = "Europe/Istanbul")]
    time_zone: Option<String>,
}

/// The zone of a `?time_zone=`; UTC by default.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, Problem> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let found = TimeZone::get(name).ok().filter(|it| !it.is_unknown());
    found.ok_or_else(|| Problem::field("time_zone", "must be the name of an IANA time zone such as Europe/Istanbul"))
}

/// Every decision about a room with its reason, oldest first; while it waits, also why it waits. Agents see it for their own rooms.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/routing", tag = "rooms", params(("id" = RoomId, Path), Part),
    responses((status = 200, body = Story), (status = 403), (status = 404))
)]
pub async fn show(
    State(app): State<App>,
    staff: Staff,
    Path(room): Path<RoomId>,
    Query(part): Query<Part>,
) -> Result<Json<Story>, Problem> {
    let limit = Page { limit: part.limit, after: None }.limit()?;
    let after = part.after.as_deref().map(str::parse::<i64>).transpose();
    let after = after.map_err(|_| Problem::field("after", "is not a cursor of this list"))?.unwrap_or(0);
    let zone = zone(part.time_zone.as_deref())?;
    if staff.roles.meets(Roles::ADMIN) {
        // It tells nothing of what was said, so an admin need not be a supervisor.
        let mut db = app.db.acquire().await?;
        let found = rooms::store::find_view(&mut db, staff.tenant, room, app.clock.now()).await?;
        found.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    } else {
        visible(&app, &staff, room).await?;
    }
    Ok(Json(story::tell(&app.db, staff.tenant, room, after, limit, &zone, app.clock.now()).await?))
}
