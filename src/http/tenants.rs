//! `/tenants`: the operator's door.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::{
    App,
    created::Created,
    extract::{Json as Body, Path, Query, RawJson, patched},
    page::{List, Page},
    problem::{self, Problem},
};
use crate::{
    audit::{self, Actor},
    check::Faults,
    clock::Moment,
    ids::TenantId,
    people::{Role, passwords::Passwords, users},
    secret::Secret,
    tenants::{Change, Status, Tenant, store},
};

/// A new tenant with its first admin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantInput {
    /// Small letters, digits and hyphens; unique.
    #[schema(example = "acme", pattern = "^[a-z0-9](-?[a-z0-9])*$", max_length = 63)]
    slug: String,
    /// Its name.
    #[schema(example = "Acme Inc.", min_length = 1, max_length = 200)]
    name: String,
    /// Who sets it up.
    admin: AdminInput,
}

/// The first admin of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminInput {
    /// E-mail address, for logging in.
    #[schema(example = "anna@acme.test", format = "email", max_length = 254)]
    email: String,
    /// Name.
    #[schema(example = "Anna Admin", min_length = 1, max_length = 200)]
    name: String,
    /// 10–1000 characters.
    #[schema(value_type = String, format = "password", write_only, min_length = 10, max_length = 1000)]
    password: Secret,
}

/// Makes a tenant with its first admin.
#[utoipa::path(
    post, path = "/api/v1/tenants", tag = "tenants", request_body = TenantInput,
    responses((status = 201, body = Tenant), (status = 409, description = "The slug is taken", body = problem::ProblemBody))
)]
pub async fn create(State(app): State<App>, Body(input): Body<TenantInput>) -> Result<Created<Tenant>, Problem> {
    let tenant = found(&app.db, &app.passwords, input, app.clock.now()).await?;
    Ok(Created(format!("/api/v1/tenants/{}", tenant.id), tenant))
}

/// Makes a tenant from the command line.
///
/// # Errors
/// One line that says what is wrong.
pub async fn create_tenant(
    db: &PgPool,
    slug: &str,
    name: &str,
    admin_email: &str,
    admin_name: &str,
    password: &str,
    now: Moment,
) -> anyhow::Result<TenantId> {
    let admin =
        AdminInput { email: admin_email.to_owned(), name: admin_name.to_owned(), password: Secret::new(password) };
    let input = TenantInput { slug: slug.to_owned(), name: name.to_owned(), admin };
    let made = found(db, &Passwords::default(), input, now).await;
    made.map(|it| it.id).map_err(|problem| anyhow::anyhow!(problem.in_one_line()))
}

async fn found(db: &PgPool, passwords: &Passwords, input: TenantInput, now: Moment) -> Result<Tenant, Problem> {
    let TenantInput { slug, name, admin } = input;
    let mut settings = Change { slug, name, status: Status::Active };
    let mut user = users::UserInput {
        email: admin.email,
        name: admin.name,
        password: Some(admin.password.clone()),
        roles: vec![Role::Admin],
        max_chats: users::DEFAULT_CHATS,
        active: true,
    };
    let mut faults = Faults::default();
    faults.add_all("", settings.check().err().map_or_else(Vec::new, |it| it.0));
    faults.add_all("/admin", user.check(true).err().map_or_else(Vec::new, |it| it.0));
    faults.done()?;
    let hash = passwords.hash(&admin.password).await?;
    let Change { slug, name, status } = settings;
    let tenant = Tenant { id: TenantId::fresh(now), slug, name, status, created_at: now, updated_at: now };
    let mut tx = crate::db::begin(db).await?;
    store::insert(&mut tx, &tenant).await?;
    let admin = users::create(&mut tx, tenant.id, user, &hash, now).await?;
    audit::note(&mut tx, tenant.id, &Actor::operator(), "tenant.created", tenant.id, now).await?;
    audit::note(&mut tx, tenant.id, &Actor::operator(), "user.created", admin.id, now).await?;
    tx.commit().await?;
    Ok(tenant)
}

/// All tenants.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", params(Page), responses((status = 200, body = List<Tenant>)))]
pub async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<List<Tenant>>, Problem> {
    let limit = page.limit()?;
    let found = store::list(&app.db, page.after()?, limit + 1).await?;
    Ok(Json(List::of(found, limit, |it| it.id.0)))
}

/// A tenant.
#[utoipa::path(
    get, path = "/api/v1/tenants/{id}", tag = "tenants", params(("id" = TenantId, Path)),
    responses((status = 200, body = Tenant))
)]
pub async fn show(State(app): State<App>, Path(id): Path<TenantId>) -> Result<Json<Tenant>, Problem> {
    store::find(&app.db, id).await?.map(Json).ok_or_else(|| Problem::of(problem::NOT_FOUND))
}

/// Changes a tenant: only the given fields.
#[utoipa::path(
    patch, path = "/api/v1/tenants/{id}", tag = "tenants", params(("id" = TenantId, Path)), request_body = Change,
    responses((status = 200, body = Tenant), (status = 409, description = "The slug is taken", body = problem::ProblemBody))
)]
pub async fn change(
    State(app): State<App>,
    Path(id): Path<TenantId>,
    RawJson(patch): RawJson,
) -> Result<Json<Tenant>, Problem> {
    let now = app.clock.now();
    let mut tx = crate::db::begin(&app.db).await?;
    let stored = store::lock(&mut tx, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    let mut settings: Change = patched(serde_json::json!(stored.settings()), &patch)?;
    settings.check()?;
    let Change { slug, name, status } = settings;
    let tenant = Tenant { slug, name, status, updated_at: now, ..stored };
    store::update(&mut tx, &tenant, now).await?;
    audit::note(&mut tx, id, &Actor::operator(), "tenant.changed", id, now).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(Json(tenant))
}

/// Removes a tenant with everything that is its own. Cannot be undone.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{id}", tag = "tenants", params(("id" = TenantId, Path)),
    responses((status = 204, description = "Gone"))
)]
pub async fn remove(State(app): State<App>, Path(id): Path<TenantId>) -> Result<StatusCode, Problem> {
    let mut tx = crate::db::begin(&app.db).await?;
    store::lock(&mut tx, id).await?.ok_or_else(|| Problem::of(problem::NOT_FOUND))?;
    store::delete(&mut tx, id).await?;
    audit::note(&mut tx, TenantId::PLATFORM, &Actor::operator(), "tenant.deleted", id, app.clock.now()).await?;
    tx.commit().await?;
    app.settings_changed();
    Ok(StatusCode::NO_CONTENT)
}
