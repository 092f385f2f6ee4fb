//! `/audit-log`: who changed what.

use axum::{Json, extract::State};

use super::{
    App,
    extract::Query,
    page::{List, Page},
    problem::Problem,
};
use crate::{
    audit::{self, Entry},
    people::Staff,
};

/// Who changed what in the settings, newest first.
#[utoipa::path(get, path = "/api/v1/audit-log", tag = "audit log", params(Page), responses((status = 200, body = List<Entry>)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<Entry>>, Problem> {
    let limit = page.limit()?;
    let found = audit::list(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id)))
}
