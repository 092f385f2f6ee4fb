//! Passwords: Argon2id, on as many threads as there are cores, so that a wave of logins cannot stop everything else.

use std::{
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::secret::Secret;

/// Passwords waiting for a core, in one process; each core does some 20 a second. The rest is told to try again.
const MAX_WAITING: usize = 200;

/// Hashes and checks passwords; clones share the cores.
#[derive(Clone, Debug)]
pub struct Passwords {
    cores: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Too many passwords are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting")]
pub struct Busy;

impl Default for Passwords {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cores: Arc::new(Semaphore::new(cores)), waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }
}

impl Passwords {
    /// The hash to store.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn hash(&self, password: &Secret) -> Result<String, Busy> {
        let password = password.clone();
        self.run(move || hash(&password)).await
    }

    /// Whether `password` belongs to `stored`. Without a stored hash the answer is no, after the same work.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn verify(&self, password: &Secret, stored: Option<String>) -> Result<bool, Busy> {
        static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&Secret::new("nobody's password")));
        let password = password.clone();
        self.run(move || {
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(|| NOBODY.clone());
            let right = PasswordHash::new(&stored)
                .is_ok_and(|it| Argon2::default().verify_password(password.expose().as_bytes(), &it).is_ok());
            right && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the caller, who may go away while it runs.
            let _core = core;
            work()
        });
        done.await.map_err(|_| Busy)
    }
}

fn hash(password: &Secret) -> String {
    let hashed = Argon2::default().hash_password(password.expose().as_bytes());
    hashed.expect("hashing a text of limited length in memory cannot fail").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits_and_nobody_has_one() {
        let passwords = Passwords::default();
        let right = Secret::new("correct horse");
        let stored = passwords.hash(&right).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(passwords.verify(&right, Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(&Secret::new("correct horsf"), Some(stored)).await.unwrap());
        assert!(!passwords.verify(&Secret::new("nobody's password"), None).await.unwrap());
    }
}
