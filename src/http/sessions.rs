//! `/sessions` and `/me`: coming in, going out, and who I am.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    access::{self, COOKIE},
    address::Address,
    created::Created,
    extract::Json as Body,
    problem::{self, Problem},
};
use crate::{
    clock::{Moment, millis},
    ids::{TenantId, UserId},
    people::{
        Role, Staff,
        login::{self, Attempt},
        store,
        users::AgentStatus,
    },
    secret::Secret,
    tenants::{self, Status},
};

/// A login.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginInput {
    /// The tenant's slug or id.
    #[schema(example = "acme")]
    tenant: String,
    /// E-mail address; case does not matter.
    #[schema(example = "anna@acme.test")]
    email: String,
    /// Password.
    #[schema(value_type = String, format = "password", write_only)]
    password: Secret,
}

/// A new session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// To be sent as `Authorization: Bearer …`; also set as a cookie.
    #[schema(example = "cgs_…")]
    token: String,
    /// When it ends.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    expires_at: Moment,
    /// Who came in.
    user: Me,
}

/// A user, as the user sees themself.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The user's id; also the agent's.
    id: UserId,
    /// E-mail address.
    email: String,
    /// Name.
    name: String,
    /// What the user may do.
    roles: Vec<Role>,
    /// Most rooms at a time.
    max_chats: i32,
    /// Always true here.
    active: bool,
    /// Whether the user is given rooms.
    status: AgentStatus,
    /// Why, in the agent's words.
    status_reason: Option<String>,
    /// Since when.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    status_since: Moment,
    /// The tenant.
    tenant: MyTenant,
    /// When the user was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    created_at: Moment,
    /// When the user was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    updated_at: Moment,
}

/// A user's tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyTenant {
    /// Its id.
    id: TenantId,
    /// Its slug.
    #[schema(example = "acme")]
    slug: String,
    /// Its name.
    #[schema(example = "Acme Inc.")]
    name: String,
}

/// Logs in. The answer is the same whichever of tenant, e-mail and password is wrong.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "sessions", request_body = LoginInput,
    responses(
        (status = 201, body = Session),
        (status = 401, description = "Wrong login", body = problem::ProblemBody),
        (status = 403, description = "The tenant is suspended", body = problem::ProblemBody),
        (status = 429, description = "Too many failures of this account or address", body = problem::ProblemBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    Address(address): Address,
    Body(input): Body<LoginInput>,
) -> Result<Response, Problem> {
    let named = input.tenant.trim();
    // PostgreSQL refuses NUL in a text; no tenant is called so.
    let tenant =
        if named.contains('\0') { None } else { tenants::store::find_named(&app.db, &named.to_lowercase()).await? };
    let attempt = Attempt {
        tenant_named: named,
        tenant: tenant.as_ref().map(|it| (it.id, it.status == Status::Suspended)),
        email: &input.email,
        password: &input.password,
        address,
    };
    let hours = app.settings.sessions.hours;
    let session = login::log_in(&app.db, &app.passwords, &app.logins, &attempt, hours, app.clock.now()).await?;
    let user = find_me(&app, session.tenant, session.user).await?;
    let cookie = cookie(&app, &session.token, i64::from(hours) * 3600);
    let body = Session { token: session.token, expires_at: session.expires_at, user };
    let mut response = Created("/api/v1/sessions/current".to_owned(), body).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Logs out: ends the session that the request carries.
#[utoipa::path(delete, path = "/api/v1/sessions/current", tag = "sessions", responses((status = 204, description = "Ended")))]
pub async fn remove(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = access::credentials(&headers) {
        login::log_out(&app.db, &token).await?;
        app.settings_changed();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie(&app, "", 0));
    Ok(response)
}

/// Who I am.
#[utoipa::path(get, path = "/api/v1/me", tag = "sessions", responses((status = 200, body = Me)))]
pub async fn me(State(app): State<App>, access::Me(staff, user): access::Me) -> Result<Json<Me>, Problem> {
    let Staff { tenant, .. } = staff;
    find_me(&app, tenant, user).await.map(Json)
}

async fn find_me(app: &App, tenant: TenantId, id: UserId) -> Result<Me, Problem> {
    let user = store::find_user(&app.db, tenant, id).await?;
    let tenant = tenants::store::find(&app.db, tenant).await?;
    let (Some(user), Some(tenant)) = (user, tenant) else { return Err(Problem::of(problem::UNAUTHORIZED)) };
    Ok(Me {
        id: user.id,
        email: user.email,
        name: user.name,
        roles: user.roles,
        max_chats: user.max_chats,
        active: user.active,
        status: user.status,
        status_reason: user.status_reason,
        status_since: user.status_since,
        tenant: MyTenant { id: tenant.id, slug: tenant.slug, name: tenant.name },
        created_at: user.created_at,
        updated_at: user.updated_at,
    })
}

fn cookie(app: &App, token: &str, seconds: i64) -> HeaderValue {
    let secure = if app.settings.public_url().starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}
