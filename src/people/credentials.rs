//! Tokens and keys: how they look, and who stands behind one.
//!
//! `cgs_…` (session) and `cgk_…` (API key) carry their tenant's id before 32 random bytes, so that the look-up leads with the tenant.
//! `cgo_…` (operator) is random only. Of each, only the SHA-256 is stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Caller, Roles, Staff, Who, keys::Scope, store};
use crate::{clock::Moment, ids::TenantId, secret};

/// Begins an operator token.
pub const OPERATOR: &str = "cgo_";
/// Begins a session token.
pub const SESSION: &str = "cgs_";
/// Begins an API key.
pub const KEY: &str = "cgk_";

const TENANT_BYTES: usize = 16;
const RANDOM_BYTES: usize = 32;

/// Whom a token belongs to.
#[derive(Clone, Debug)]
pub enum Authenticated {
    /// Nobody, or nobody any more.
    Nobody,
    /// Somebody of a tenant that is suspended.
    Suspended,
    /// A caller.
    As(Caller),
}

/// Finds who calls with `token`.
///
/// # Errors
/// Only if the database does not answer; a wrong token is [`Authenticated::Nobody`].
pub async fn authenticate(db: &PgPool, token: &str, now: Moment) -> Result<Authenticated, sqlx::Error> {
    Ok(look_up(db, token, &secret::fingerprint(token), now).await?.0)
}

/// The same with the token's fingerprint at hand; and when the token ends, if it does by itself.
pub(super) async fn look_up(
    db: &PgPool,
    token: &str,
    hash: &[u8; 32],
    now: Moment,
) -> Result<(Authenticated, Option<Moment>), sqlx::Error> {
    if token.starts_with(OPERATOR) {
        let known = store::is_operator_token(db, hash).await?;
        return Ok((if known { Authenticated::As(Caller::Operator) } else { Authenticated::Nobody }, None));
    }
    let mut ends_at = None;
    let found = if let Some(tenant) = tenant_in(token, SESSION) {
        store::find_session(db, tenant, hash, now).await?.map(|it| {
            ends_at = Some(it.expires_at);
            let roles = it.roles.into_iter().collect::<Roles>();
            let staff = Staff { tenant, who: Who::User(it.user_id), name: it.name, roles, reads: false };
            (it.suspended, staff)
        })
    } else if let Some(tenant) = tenant_in(token, KEY) {
        let found = store::find_key(db, tenant, hash).await?;
        if let Some(it) = &found
            && it.last_used_at.is_none_or(|at| now - at >= store::USED_EVERY)
        {
            store::mark_key_used(db, tenant, it.id, now).await?;
        }
        found.map(|it| {
            let roles = it.scopes.iter().filter_map(|scope| scope.role()).collect::<Roles>();
            let reads = it.scopes.contains(&Scope::Read);
            (it.suspended, Staff { tenant, who: Who::Key(it.id), name: it.name, roles, reads })
        })
    } else {
        None
    };
    let who = match found {
        None => Authenticated::Nobody,
        Some((true, _)) => Authenticated::Suspended,
        Some((_, staff)) => Authenticated::As(Caller::Staff(staff)),
    };
    Ok((who, ends_at))
}

/// Makes `token` an operator token, unless it is one.
///
/// # Errors
/// If the database does not answer.
pub async fn ensure_operator_token(db: &PgPool, token: &str, name: &str, now: Moment) -> Result<(), sqlx::Error> {
    store::insert_operator_token(db, &secret::fingerprint(token), name, now).await
}

/// Makes a new operator token, which is shown once and never again.
///
/// # Errors
/// If the database does not answer.
pub async fn new_operator_token(db: &PgPool, name: &str, now: Moment) -> Result<String, sqlx::Error> {
    let token = format!("{OPERATOR}{}", secret::random_text());
    ensure_operator_token(db, &token, name, now).await?;
    Ok(token)
}

/// A new token of a tenant; `prefix` is [`SESSION`] or [`KEY`].
pub(super) fn new_token(prefix: &str, tenant: TenantId) -> String {
    let bytes = [&tenant.0.as_bytes()[..], &secret::random_bytes()].concat();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The tenant in a token of this kind, if it has the form of one.
pub(super) fn tenant_in(token: &str, prefix: &str) -> Option<TenantId> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(prefix)?).ok()?;
    let (tenant, random) = bytes.split_at_checked(TENANT_BYTES)?;
    (random.len() == RANDOM_BYTES).then(|| Uuid::from_slice(tenant).ok().map(TenantId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_tenant() {
        let tenant = TenantId(Uuid::from_u128(7));
        let (one, two) = (new_token(SESSION, tenant), new_token(SESSION, tenant));
        assert_ne!(one, two);
        assert_eq!(tenant_in(&one, SESSION), Some(tenant));
        assert_eq!(tenant_in(&one, KEY), None);
        assert_eq!(tenant_in(&one[..one.len() - 1], SESSION), None);
        assert_eq!(tenant_in("cgs_", SESSION), None);
        assert_eq!(tenant_in("cgs_\0", SESSION), None);
    }
}
