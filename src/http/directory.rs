//! `/directory`: whom and what a room can be given.

use axum::{Json, extract::State};

use super::{App, problem::Problem};
use crate::{
    desk::{Directory, store},
    people::Staff,
};

/// The tenant's agents, queues and widgets, as far as agents choose from them.
#[utoipa::path(get, path = "/api/v1/directory", tag = "agents", responses((status = 200, body = Directory)))]
pub async fn show(State(app): State<App>, staff: Staff) -> Result<Json<Directory>, Problem> {
    let mut db = app.db.acquire().await?;
    Ok(Json(store::load_directory(&mut db, staff.tenant).await?))
}
