//! `/api-keys`: credentials of a tenant's programs.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit,
    clock::{Moment, millis, millis_opt},
    ids::KeyId,
    people::{
        Staff,
        keys::{self, ApiKey, ApiKeyInput, Scope},
        store,
    },
};

/// A new API key, with the key.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewApiKey {
    /// Its id.
    id: KeyId,
    /// What it is for.
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// To be sent as `Authorization: Bearer …`. Shown here and never again.
    #[schema(example = "cgk_…")]
    key: String,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    created_at: Moment,
    /// When it was last used, to the minute.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    last_used_at: Option<Moment>,
}

/// Makes an API key.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "api keys", request_body = ApiKeyInput, responses((status = 201, body = NewApiKey)))]
pub async fn create(
    State(app): State<App>,
    staff: Staff,
    Body(mut input): Body<ApiKeyInput>,
) -> Result<Created<NewApiKey>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let (made, key) = keys::create(&mut tx, staff.tenant, input, now).await?;
    audit::note(&mut tx, staff.tenant, &staff.actor(), "api_key.created", made.id, now).await?;
    tx.commit().await?;
    let ApiKey { id, name, scopes, created_at, last_used_at } = made;
    Ok(Created(format!("/api/v1/api-keys/{id}"), NewApiKey { id, name, scopes, key, created_at, last_used_at }))
}

/// All API keys of the tenant, without the keys.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "api keys", params(Page), responses((status = 200, body = List<ApiKey>)))]
pub async fn list(
    State(app): State<App>,
    staff: Staff,
    Query(page): Query<Page>,
) -> Result<Json<List<ApiKey>>, Problem> {
    let limit = page.limit()?;
    let found = store::list_keys(&app.db, staff.tenant, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// Revokes an API key, at once.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{id}", tag = "api keys", params(("id" = KeyId, Path)),
    responses((status = 204, description = "Revoked"))
)]
pub async fn remove(State(app): State<App>, staff: Staff, Path(id): Path<KeyId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_key(&mut tx, staff.tenant, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, staff.tenant, &staff.actor(), "api_key.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}
