//! `/healthz` and `/readyz`: for whoever starts, stops and balances processes.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, problem::Problem};
use crate::db;

/// A balancer asks every few seconds and waits no longer than that.
const PATIENCE: Duration = Duration::from_secs(2);

/// How it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is missing.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process lives. Asks nobody else.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether requests can be served: the database answers and has all migrations.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = Health), (status = 503, description = "Not now", body = Health))
)]
pub async fn ready(State(app): State<App>) -> Result<(StatusCode, Json<Health>), Problem> {
    let status = match tokio::time::timeout(PATIENCE, db::pending_migrations(&app.db)).await {
        Ok(Ok(pending)) if pending.is_empty() => return Ok((StatusCode::OK, Json(Health { status: "ok" }))),
        Ok(Ok(_)) => "migrations are pending",
        Ok(Err(_)) | Err(_) => "the database does not answer",
    };
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(Health { status })))
}
