//! Logging in and out.

use std::net::IpAddr;

use chrono::TimeDelta;
use sqlx::PgPool;

use super::{
    credentials::{SESSION, new_token, tenant_in},
    passwords::{Busy, Passwords},
    store,
    throttle::{Throttle, Wait},
};
use crate::{
    clock::Moment,
    ids::{TenantId, UserId},
    secret::{Secret, fingerprint},
};

/// What somebody says who wants to come in.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The tenant's id or slug, as typed.
    pub tenant_named: &'a str,
    /// That tenant, if there is one, and whether it is suspended.
    pub tenant: Option<(TenantId, bool)>,
    /// E-mail address; case does not matter.
    pub email: &'a str,
    /// Password.
    pub password: &'a Secret,
    /// Where the attempt comes from.
    pub address: Option<IpAddr>,
}

/// A new session; the token is shown once.
#[derive(Debug)]
pub struct Session {
    /// `cgs_…`
    pub token: String,
    /// When it ends.
    pub expires_at: Moment,
    /// The tenant.
    pub tenant: TenantId,
    /// Who came in.
    pub user: UserId,
}

/// Why somebody stays outside.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Tenant, e-mail and password do not belong together, or the user is deactivated.
    #[error("wrong login")]
    Wrong,
    /// Too many failures before.
    #[error("too many failed logins")]
    Throttled(Wait),
    /// The password is right, the tenant suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// Too many logins at once.
    #[error("too many logins at once")]
    Busy(#[from] Busy),
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// Checks an attempt and opens a session of `hours`. The work is the same whatever is wrong.
///
/// # Errors
/// See [`LoginError`].
pub async fn log_in(
    db: &PgPool,
    passwords: &Passwords,
    throttle: &Throttle,
    attempt: &Attempt<'_>,
    hours: u32,
    now: Moment,
) -> Result<Session, LoginError> {
    let account = account(attempt);
    throttle.admit(&account, attempt.address, now).map_err(LoginError::Throttled)?;
    // PostgreSQL refuses NUL in a text; nobody has such an address.
    let email = attempt.email.trim();
    let email = if email.contains('\0') { "" } else { email };
    // Asked also when there is no such tenant, so that the time says nothing.
    let tenant = attempt.tenant.map_or(TenantId::PLATFORM, |(id, _)| id);
    let user = store::find_for_login(db, tenant, email).await?;
    let hash = user.as_ref().map(|it| it.password_hash.clone());
    let right = passwords.verify(attempt.password, hash).await?;
    // Asked again after the slow part: of many guesses at once, no more are answered than of guesses in turn.
    throttle.admit(&account, attempt.address, now).map_err(LoginError::Throttled)?;
    let (Some(user), Some((tenant, suspended)), true) = (user.filter(|it| it.active), attempt.tenant, right) else {
        throttle.failed(account, attempt.address, now);
        return Err(LoginError::Wrong);
    };
    throttle.succeeded(&account);
    if suspended {
        return Err(LoginError::Suspended);
    }
    let (token, expires_at) = (new_token(SESSION, tenant), now + TimeDelta::hours(hours.into()));
    store::insert_session(db, tenant, &fingerprint(&token), user.id, now, expires_at).await?;
    Ok(Session { token, expires_at, tenant, user: user.id })
}

/// Ends the session of this token; anything else is left alone.
///
/// # Errors
/// If the database does not answer.
pub async fn log_out(db: &PgPool, token: &str) -> sqlx::Result<()> {
    match tenant_in(token, SESSION) {
        Some(tenant) => store::delete_session(db, tenant, &fingerprint(token)).await,
        None => Ok(()),
    }
}

/// The same account however it is written; also one that does not exist.
fn account(attempt: &Attempt<'_>) -> [u8; 32] {
    let tenant = attempt.tenant.map_or_else(|| attempt.tenant_named.to_lowercase(), |(id, _)| id.to_string());
    fingerprint(&format!("{tenant}\n{}", attempt.email.trim().to_lowercase()))
}
