//! What agents are doing: `/me/status`, `/agents/{id}/status`.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App,
    access::Me,
    extract::{Json as Body, Path},
    problem::{self, Problem},
};
use crate::{
    audit::Actor,
    ids::{TenantId, UserId},
    people::Staff,
    queues::{AgentStatus, AgentView, presence, store::presence as store},
};

/// Most characters in a reason.
const MAX_REASON: usize = 200;

/// A new status.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStatus {
    /// Only ready agents are given rooms.
    status: AgentStatus,
    /// At most 200 characters.
    reason: Option<String>,
}

/// Sets my status.
#[utoipa::path(put, path = "/api/v1/me/status", tag = "agents", request_body = SetStatus, responses((status = 200, body = AgentView), (status = 422)))]
pub async fn set_mine(
    State(app): State<App>,
    Me(staff, me): Me,
    Body(set): Body<SetStatus>,
) -> Result<Json<AgentView>, Problem> {
    apply(&app, staff.tenant, me, set, None).await
}

/// My status.
#[utoipa::path(get, path = "/api/v1/me/status", tag = "agents", responses((status = 200, body = AgentView)))]
pub async fn show_mine(State(app): State<App>, Me(staff, me): Me) -> Result<Json<AgentView>, Problem> {
    let mut db = app.db.acquire().await?;
    store::find_view(&mut db, staff.tenant, me, app.clock.now())
        .await?
        .map(Json)
        .ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Sets an agent's status.
#[utoipa::path(put, path = "/api/v1/agents/{id}/status", tag = "agents", params(("id" = UserId, Path)), request_body = SetStatus, responses((status = 200, body = AgentView), (status = 404), (status = 422)))]
pub async fn set(
    State(app): State<App>,
    staff: Staff,
    Path(agent): Path<UserId>,
    Body(set): Body<SetStatus>,
) -> Result<Json<AgentView>, Problem> {
    apply(&app, staff.tenant, agent, set, Some(&staff.actor())).await
}

async fn apply(
    app: &App,
    tenant: TenantId,
    agent: UserId,
    set: SetStatus,
    by: Option<&Actor>,
) -> Result<Json<AgentView>, Problem> {
    let reason = set.reason.as_deref().map(str::trim).filter(|it| !it.is_empty());
    if reason.is_some_and(|it| it.chars().count() > MAX_REASON || it.chars().any(char::is_control)) {
        return Err(Problem::field(
            "/reason",
            format!("must have at most {MAX_REASON} characters and no control characters"),
        ));
    }
    let agent = presence::set_status(&app.dispatch, tenant, agent, set.status, reason, by, app.clock.now()).await?;
    agent.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}
