//! Tenants: companies whose data is their own. What an operator sets about them.

pub mod store;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::TenantId,
    words,
};

words! {
    /// Whether a tenant's people may come in.
    pub enum Status {
        /// They may.
        Active = "active",
        /// Their credentials get 403; webhooks are still stored.
        Suspended = "suspended",
    }
}

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its short name, for logging in.
    #[schema(example = "acme")]
    pub slug: String,
    /// Its name.
    #[schema(example = "Acme Inc.")]
    pub name: String,
    /// Whether its people may come in.
    #[schema(inline)]
    pub status: Status,
    /// When it was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When it was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// What can be set about a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange)]
pub struct Change {
    /// Small letters, digits and hyphens; unique.
    #[schema(example = "acme", pattern = "^[a-z0-9](-?[a-z0-9])*$", max_length = 63)]
    pub slug: String,
    /// Its name.
    #[schema(example = "Acme Inc.", min_length = 1, max_length = 200)]
    pub name: String,
    /// Whether its people may come in.
    #[schema(inline)]
    pub status: Status,
}

/// Why a tenant cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Another tenant has the slug.
    #[error("the slug is taken")]
    SlugTaken,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

impl Tenant {
    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> Change {
        Change { slug: self.slug.clone(), name: self.name.clone(), status: self.status }
    }
}

impl Change {
    /// Trims and checks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        check_slug(&mut faults, &self.slug);
        faults.name("/name", &mut self.name);
        faults.done()
    }
}

fn check_slug(faults: &mut Faults, slug: &str) {
    let plain = slug.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
    let edges = slug.starts_with('-') || slug.ends_with('-') || slug.contains("--");
    if !plain || edges || !(1..=63).contains(&slug.len()) {
        faults.add("/slug", "must be 1–63 small letters, digits and single hyphens between them");
    } else if Uuid::try_parse(slug).is_ok() {
        // A login may name its tenant by slug or id; one must not pass for the other.
        faults.add("/slug", "must not look like an id");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(slug: &str, fine: bool) {
        let mut change = Change { slug: slug.to_owned(), name: "x".to_owned(), status: Status::Active };
        assert_eq!(change.check().is_ok(), fine, "{slug}");
    }

    #[test]
    fn slugs_are_short_plain_and_no_ids() {
        check("acme", true);
        check("a", true);
        check("acme-2", true);
        check("", false);
        check("Acme", false);
        check("-acme", false);
        check("acme-", false);
        check("a--b", false);
        check("acme inc", false);
        check("é", false);
        check(&"a".repeat(63), true);
        check(&"a".repeat(64), false);
        check("018f3e1e-0000-7000-8000-000000000000", false);
    }
}
