//! Who may enter: every door has an access level, checked here before its handler runs.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Method, header, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{
    App,
    problem::{self, Problem},
};
use crate::{
    ids::UserId,
    people::{self, Caller, Roles, Staff},
};

/// The session cookie's name.
pub const COOKIE: &str = "chatgate_session";

/// Who may enter a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; the handler looks at no credentials.
    Public,
    /// The operator.
    Operator,
    /// A user or key with at least one of these roles.
    Any(Roles),
}

impl Access {
    /// Any user or key of a tenant.
    pub const STAFF: Self = Self::Any(Roles::ALL);
    /// Admins.
    pub const ADMIN: Self = Self::Any(Roles::ADMIN);
    /// Admins and supervisors.
    pub const WATCH: Self = Self::Any(Roles::ADMIN.or(Roles::SUPERVISOR));
    /// Supervisors.
    pub const SUPERVISOR: Self = Self::Any(Roles::SUPERVISOR);
    /// Supervisors, and agents for what is their own.
    pub const ROOMS: Self = Self::Any(Roles::SUPERVISOR.or(Roles::AGENT));
    /// Agents.
    pub const AGENT: Self = Self::Any(Roles::AGENT);
}

/// The layer of one door.
pub async fn layer(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if access == Access::Public {
        return Ok(next.run(request).await);
    }
    let token = credentials(request.headers()).ok_or_else(|| Problem::of(problem::UNAUTHORIZED))?;
    let caller = match app.callers.authenticate(&token, app.clock.now()).await? {
        people::Authenticated::Nobody => return Err(Problem::of(problem::UNAUTHORIZED)),
        people::Authenticated::Suspended => return Err(Problem::of(problem::TENANT_SUSPENDED)),
        people::Authenticated::As(caller) => caller,
    };
    let may = match (&caller, access) {
        (Caller::Operator, Access::Operator) => true,
        (Caller::Staff(staff), Access::Any(roles)) => {
            staff.roles.meets(roles)
                || (staff.reads && request.method() == Method::GET && roles.meets(Roles::ADMIN.or(Roles::SUPERVISOR)))
        }
        _ => false,
    };
    if !may {
        return Err(Problem::of(problem::FORBIDDEN));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The token of a request: bearer header, or the session cookie.
///
/// The cookie is `SameSite=Strict`, so another site cannot make a browser send it.
pub fn credentials(headers: &axum::http::HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(';'));
    cookies
        .filter_map(|it| it.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

impl<S: Send + Sync> FromRequestParts<S> for Staff {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::Staff(staff)) => Ok(staff.clone()),
            _ => Err(Problem::of(problem::FORBIDDEN)),
        }
    }
}

/// A user with the agent role: what `/me/…` needs. An API key is nobody's self.
#[derive(Clone, Debug)]
pub struct Me(pub Staff, pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for Me {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let staff = Staff::from_request_parts(parts, state).await?;
        let user = staff
            .user()
            .ok_or_else(|| Problem::of(problem::FORBIDDEN).detail("this call is for users, not for API keys"))?;
        Ok(Self(staff, user))
    }
}
