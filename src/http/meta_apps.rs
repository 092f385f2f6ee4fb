//! `/meta-apps`: the operator's Meta apps, which serve every tenant.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit::{self, Actor},
    ids::{MetaAppId, TenantId},
    widgets::{
        apps::{self, MetaApp, MetaAppInput},
        store,
    },
};

/// Adds a platform-wide Meta app. Tenants use it by naming its `app_id` without an app secret.
#[utoipa::path(
    post, path = "/api/v1/meta-apps", tag = "meta apps", request_body = MetaAppInput,
    responses((status = 201, body = MetaApp), (status = 409, description = "The app is known already", body = problem::ProblemBody))
)]
pub async fn create(State(app): State<App>, Body(mut input): Body<MetaAppInput>) -> Result<Created<MetaApp>, Problem> {
    input.check()?;
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let made = apps::create_for_all(&mut tx, &app.seal, input, now).await?;
    audit::note(&mut tx, TenantId::PLATFORM, &Actor::operator(), "meta_app.created", made.id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(Created(format!("/api/v1/meta-apps/{}", made.id), made.view(&app.settings.public_url())))
}

/// All platform-wide Meta apps.
#[utoipa::path(get, path = "/api/v1/meta-apps", tag = "meta apps", params(Page), responses((status = 200, body = List<MetaApp>)))]
pub async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<List<MetaApp>>, Problem> {
    let (limit, public_url) = (page.limit()?, app.settings.public_url());
    let found = store::list_apps(&app.db, TenantId::PLATFORM, page.after()?, limit + 1).await?;
    let views = found.iter().map(|it| it.view(&public_url)).collect();
    Ok(Json(List::of(views, limit, |it: &MetaApp| it.id.0)))
}

/// Removes a platform-wide Meta app that no widget uses.
#[utoipa::path(
    delete, path = "/api/v1/meta-apps/{id}", tag = "meta apps", params(("id" = MetaAppId, Path)),
    responses((status = 204, description = "Gone"), (status = 409, description = "Still in use", body = problem::ProblemBody))
)]
pub async fn remove(State(app): State<App>, Path(id): Path<MetaAppId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    if !store::delete_app(&mut tx, TenantId::PLATFORM, id).await? {
        return Err(Problem::of(problem::NOT_FOUND));
    }
    audit::note(&mut tx, TenantId::PLATFORM, &Actor::operator(), "meta_app.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}
