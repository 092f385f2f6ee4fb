//! Who changed what in the settings: one row for each successful change, in the transaction of the change. Never holds secrets.

mod store;

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    clock::{Moment, millis},
    ids::{self, TenantId},
    words,
};

words! {
    /// What kind of caller changed something.
    pub enum ActorKind {
        /// The platform's operator.
        Operator = "operator",
        /// A user of the tenant.
        User = "user",
        /// An API key of the tenant.
        ApiKey = "api_key",
    }
}

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Actor {
    /// What it is.
    pub kind: ActorKind,
    /// Its id; null for the operator.
    pub id: Option<Uuid>,
    /// Its name at that time.
    #[schema(example = "Anna Admin")]
    pub name: String,
}

impl Actor {
    /// The platform's operator.
    #[must_use]
    pub fn operator() -> Self {
        Self { kind: ActorKind::Operator, id: None, name: "operator".to_owned() }
    }
}

/// One change.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// When.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub at: Moment,
    /// Who.
    pub actor: Actor,
    /// What: the kind of thing and what happened to it.
    #[schema(example = "widget.created")]
    pub action: String,
    /// The thing's id.
    pub target_id: Option<String>,
}

/// Notes a change in the transaction that makes it.
pub async fn note(
    db: &mut PgConnection,
    tenant: TenantId,
    actor: &Actor,
    action: &str,
    target: impl std::fmt::Display,
    now: Moment,
) -> sqlx::Result<()> {
    store::insert(db, tenant, ids::fresh(now), actor, action, &target.to_string(), now).await
}

/// Up to `limit` changes before the one called `before`, newest first; the nil id stands for the end of time.
pub async fn list(db: &PgPool, tenant: TenantId, before: Uuid, limit: i64) -> sqlx::Result<Vec<Entry>> {
    store::list(db, tenant, if before.is_nil() { Uuid::max() } else { before }, limit).await
}
