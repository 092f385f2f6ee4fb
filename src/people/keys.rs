//! API keys of a tenant: for its programs, as sessions are for its people.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    Role,
    credentials::{KEY, new_token},
    store,
};
use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis, millis_opt},
    ids::{KeyId, TenantId},
    secret::fingerprint,
    words,
};

words! {
    /// What an API key may do.
    pub enum Scope {
        /// What an admin may.
        Admin = "admin",
        /// What a supervisor may.
        Supervise = "supervise",
        /// What an agent may.
        Answer = "answer",
        /// Read what an admin or supervisor may read.
        Read = "read",
    }
}

impl Scope {
    /// The role it stands for.
    #[must_use]
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Admin => Some(Role::Admin),
            Self::Supervise => Some(Role::Supervisor),
            Self::Answer => Some(Role::Agent),
            Self::Read => None,
        }
    }
}

/// An API key, without the key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    #[schema(example = "CRM")]
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last used, to the minute.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub last_used_at: Option<Moment>,
}

/// A new API key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyInput {
    /// What it is for.
    #[schema(example = "CRM", min_length = 1, max_length = 200)]
    pub name: String,
    /// What it may do; at least one.
    #[schema(min_items = 1, example = json!(["answer", "read"]))]
    pub scopes: Vec<Scope>,
}

impl ApiKeyInput {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        faults.name("/name", &mut self.name);
        if self.scopes.is_empty() {
            faults.add("/scopes", "must have at least one");
        }
        let mut kept = Vec::new();
        self.scopes.retain(|it| {
            !kept.contains(it) && {
                kept.push(*it);
                true
            }
        });
        faults.done()
    }
}

/// Makes a key; the text beside it is shown once.
///
/// # Errors
/// If the database does not answer.
pub async fn create(
    db: &mut PgConnection,
    tenant: TenantId,
    input: ApiKeyInput,
    now: Moment,
) -> sqlx::Result<(ApiKey, String)> {
    let text = new_token(KEY, tenant);
    let ApiKeyInput { name, scopes } = input;
    let key = ApiKey { id: KeyId::fresh(now), name, scopes, created_at: now, last_used_at: None };
    store::insert_key(db, tenant, &key, &fingerprint(&text)).await?;
    Ok((key, text))
}
