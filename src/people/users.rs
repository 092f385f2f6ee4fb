//! Users: the people of a tenant. Each has a working side, its `agents` row, whether or not it answers.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Role, store};
use crate::{
    check::{Faults, Invalid},
    clock::{Moment, millis},
    ids::{TenantId, UserId},
    secret::{Secret, hidden, never_shown},
    words,
};

/// Shortest password, in characters.
const MIN_PASSWORD: usize = 10;
/// Longest password; more would only cost time.
const MAX_PASSWORD: usize = 1000;
const MAX_EMAIL: usize = 254;
/// Most rooms that an agent may have at a time.
const MAX_CHATS: i32 = 50;
/// Most rooms of an agent for whom nothing else is set.
pub const DEFAULT_CHATS: i32 = 4;

words! {
    /// Whether an agent is given rooms.
    pub enum AgentStatus {
        /// Yes.
        Ready = "ready",
        /// Not at the moment.
        Away = "away",
        /// Not at work.
        Offline = "offline",
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct User {
    /// Its id; also the agent's.
    pub id: UserId,
    /// E-mail address, for logging in.
    #[schema(example = "anna@acme.test")]
    pub email: String,
    /// Shown to colleagues and contacts.
    #[schema(example = "Anna")]
    pub name: String,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Most rooms at a time.
    pub max_chats: i32,
    /// False: may not come in.
    pub active: bool,
    /// Whether the user is given rooms.
    pub status: AgentStatus,
    /// Why, in the agent's words.
    pub status_reason: Option<String>,
    /// Since when.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub status_since: Moment,
    /// When the user was created.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub created_at: Moment,
    /// When the user was last changed.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub updated_at: Moment,
}

/// What can be set about a user.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserInput {
    /// E-mail address, for logging in; unique in the tenant, case does not matter.
    #[schema(example = "anna@acme.test", format = "email", max_length = 254)]
    pub email: String,
    /// Shown to colleagues and contacts.
    #[schema(example = "Anna", min_length = 1, max_length = 200)]
    pub name: String,
    /// Required for a new user, 10–1000 characters.
    #[serde(default, skip_serializing_if = "never_shown", serialize_with = "hidden")]
    #[schema(value_type = Option<String>, format = "password", write_only, min_length = 10, max_length = 1000)]
    pub password: Option<Secret>,
    /// What the user may do; at least one.
    #[schema(min_items = 1, example = json!(["agent"]))]
    pub roles: Vec<Role>,
    /// Most rooms at a time.
    #[serde(default = "default_chats")]
    #[schema(minimum = 0, maximum = 50, default = 4)]
    pub max_chats: i32,
    /// False: may not come in.
    #[serde(default = "default_active")]
    #[schema(default = true)]
    pub active: bool,
}

fn default_chats() -> i32 {
    DEFAULT_CHATS
}

fn default_active() -> bool {
    true
}

/// Why a user cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Another user of the tenant has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// Nobody could set the tenant up any more.
    #[error("the last active admin")]
    LastAdmin,
    /// The user has or had rooms.
    #[error("the user has rooms")]
    HasRooms,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

impl User {
    /// What can be changed, as it is now.
    #[must_use]
    pub fn settings(&self) -> UserInput {
        UserInput {
            email: self.email.clone(),
            name: self.name.clone(),
            password: None,
            roles: self.roles.clone(),
            max_chats: self.max_chats,
            active: self.active,
        }
    }

    fn rules(&self) -> bool {
        self.active && self.roles.contains(&Role::Admin)
    }
}

impl UserInput {
    /// May be given rooms.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.active && self.roles.contains(&Role::Agent)
    }

    /// Trims and checks. A new user must have a password.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&mut self, is_new: bool) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        check_email(&mut faults, "/email", &mut self.email);
        faults.name("/name", &mut self.name);
        match &self.password {
            Some(password) => check_password(&mut faults, "/password", password),
            None if is_new => faults.add("/password", "is required"),
            None => {}
        }
        if self.roles.is_empty() {
            faults.add("/roles", "must have at least one");
        }
        let mut kept = Vec::new();
        self.roles.retain(|it| {
            !kept.contains(it) && {
                kept.push(*it);
                true
            }
        });
        faults.range("/max_chats", self.max_chats, 0..=MAX_CHATS);
        faults.done()
    }
}

/// Checks a password.
pub fn check_password(faults: &mut Faults, pointer: &str, password: &Secret) {
    faults.range_of(pointer, password.expose().chars().count(), MIN_PASSWORD..=MAX_PASSWORD, "characters");
}

/// Trims and checks an e-mail address. Only its mail server knows whether it is one; this keeps slips and control characters out.
pub fn check_email(faults: &mut Faults, pointer: &str, email: &mut String) {
    let before = faults.count();
    faults.line(pointer, email, 3..=MAX_EMAIL);
    let plain = email.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !host.contains('@') && !email.contains(char::is_whitespace)
    });
    if !plain && faults.count() == before {
        faults.add(pointer, "must be an e-mail address");
    }
}

/// Adds a user with this password hash.
///
/// # Errors
/// [`UserError::EmailTaken`]
pub async fn create(
    db: &mut PgConnection,
    tenant: TenantId,
    input: UserInput,
    password_hash: &str,
    now: Moment,
) -> Result<User, UserError> {
    let user = User {
        id: UserId::fresh(now),
        email: input.email,
        name: input.name,
        roles: input.roles,
        max_chats: input.max_chats,
        active: input.active,
        status: AgentStatus::Offline,
        status_reason: None,
        status_since: now,
        created_at: now,
        updated_at: now,
    };
    store::insert_user(db, tenant, &user, password_hash).await?;
    Ok(user)
}

/// Writes changed settings over `stored`, which the caller has locked. Whoever may not come in any more is out at once;
/// a new password ends every session but `kept_session`.
///
/// # Errors
/// See [`UserError`].
pub async fn change(
    db: &mut PgConnection,
    tenant: TenantId,
    stored: User,
    input: UserInput,
    new_password: Option<NewPassword<'_>>,
    now: Moment,
) -> Result<User, UserError> {
    let answers = input.answers();
    let mut user = User {
        email: input.email,
        name: input.name,
        roles: input.roles,
        max_chats: input.max_chats,
        active: input.active,
        updated_at: now,
        ..stored.clone()
    };
    if stored.rules() && !user.rules() && store::count_other_admins(db, tenant, user.id).await? == 0 {
        return Err(UserError::LastAdmin);
    }
    if !answers && user.status != AgentStatus::Offline {
        (user.status, user.status_reason, user.status_since) = (AgentStatus::Offline, None, now);
    }
    store::update_user(db, tenant, &user).await?;
    if !user.roles.contains(&Role::Agent) {
        store::delete_memberships(db, tenant, user.id).await?;
    }
    if let Some(NewPassword { hash, kept_session }) = new_password {
        store::update_password(db, tenant, user.id, hash).await?;
        store::delete_sessions(db, tenant, user.id, kept_session).await?;
    }
    if !user.active {
        store::delete_sessions(db, tenant, user.id, None).await?;
    }
    Ok(user)
}

/// A new password and the session that may go on with it.
#[derive(Clone, Copy, Debug)]
pub struct NewPassword<'a> {
    /// Its hash.
    pub hash: &'a str,
    /// The hash of the token of the user's own session, if it is the user who changes it.
    pub kept_session: Option<&'a [u8; 32]>,
}

/// Removes a user, whom the caller has locked, with sessions and memberships.
///
/// # Errors
/// See [`UserError`].
pub async fn remove(db: &mut PgConnection, tenant: TenantId, user: &User) -> Result<(), UserError> {
    if user.rules() && store::count_other_admins(db, tenant, user.id).await? == 0 {
        return Err(UserError::LastAdmin);
    }
    store::delete_user(db, tenant, user.id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut UserInput), expected: &[&str]) {
        let mut input = UserInput {
            email: " Anna@acme.test ".to_owned(),
            name: "Anna".to_owned(),
            password: Some(Secret::new("long enough")),
            roles: vec![Role::Agent],
            max_chats: 4,
            active: true,
        };
        change(&mut input);
        let found = input.check(true).err().map_or_else(Vec::new, |Invalid(found)| found);
        assert_eq!(found.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_wrong_field_is_named() {
        check(|_| {}, &[]);
        check(|it| it.email = "anna".into(), &["/email"]);
        check(|it| it.email = "a b@acme.test".into(), &["/email"]);
        check(|it| it.email = "a@b@c".into(), &["/email"]);
        check(|it| it.email = "a\0@acme.test".into(), &["/email"]);
        check(|it| it.name = " ".into(), &["/name"]);
        check(|it| it.password = Some(Secret::new("too short")), &["/password"]);
        check(|it| it.password = None, &["/password"]);
        check(|it| it.roles.clear(), &["/roles"]);
        check(|it| it.max_chats = 51, &["/max_chats"]);
        check(|it| it.max_chats = -1, &["/max_chats"]);
        check(|it| it.max_chats = 0, &[]);
        check(|it| (it.email, it.name) = (String::new(), String::new()), &["/email", "/name"]);
    }

    #[test]
    fn roles_come_once() {
        let mut input: UserInput =
            serde_json::from_str(r#"{"email":"a@b.c","name":"A","roles":["agent","admin","agent"]}"#).unwrap();
        input.check(false).unwrap();
        assert_eq!(input.roles, [Role::Agent, Role::Admin]);
    }
}
