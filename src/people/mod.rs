//! Who works for a tenant and how callers prove who they are.

mod callers;
pub mod credentials;
pub mod keys;
pub mod login;
pub mod passwords;
pub mod store;
pub mod throttle;
pub mod users;

pub use callers::Callers;
pub use credentials::{Authenticated, authenticate, ensure_operator_token, new_operator_token};

use crate::{
    audit::{Actor, ActorKind},
    ids::{KeyId, TenantId, UserId},
    words,
};

words! {
    /// What a user may be; any of them together.
    pub enum Role {
        /// Sets the tenant up.
        Admin = "admin",
        /// Watches, corrects, reads records.
        Supervisor = "supervisor",
        /// Answers.
        Agent = "agent",
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// Every role.
    pub const ALL: Self = Self(0b111);
    /// `admin` alone.
    pub const ADMIN: Self = Self(0b001);
    /// `supervisor` alone.
    pub const SUPERVISOR: Self = Self(0b010);
    /// `agent` alone.
    pub const AGENT: Self = Self(0b100);

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets share a role.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), |all, role| {
            all.or(match role {
                Role::Admin => Self::ADMIN,
                Role::Supervisor => Self::SUPERVISOR,
                Role::Agent => Self::AGENT,
            })
        })
    }
}

/// Who calls, once the credentials are checked.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The platform's operator: tenants and platform-wide Meta apps only.
    Operator,
    /// Somebody or something of a tenant.
    Staff(Staff),
}

/// A user of a tenant, or one of its API keys.
#[derive(Clone, Debug)]
pub struct Staff {
    /// The tenant follows from the credential, never from the request.
    pub tenant: TenantId,
    /// The user or key.
    pub who: Who,
    /// Shown as author and in the audit log.
    pub name: String,
    /// What it may do. A key's scopes `admin`, `supervise`, `answer` count as the roles.
    pub roles: Roles,
    /// A key with scope `read`: may make any `GET` a supervisor or admin may.
    pub reads: bool,
}

/// The user or key behind a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user.
    User(UserId),
    /// An API key.
    Key(KeyId),
}

impl Staff {
    /// The user, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self.who {
            Who::User(id) => Some(id),
            Who::Key(_) => None,
        }
    }

    /// Sees all rooms of the tenant, not only its own.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.roles.meets(Roles::SUPERVISOR) || self.reads || matches!(self.who, Who::Key(_))
    }
    /// As the audit log notes it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let (kind, id) = match self.who {
            Who::User(id) => (ActorKind::User, id.0),
            Who::Key(id) => (ActorKind::ApiKey, id.0),
        };
        Actor { kind, id: Some(id), name: self.name.clone() }
    }
}
