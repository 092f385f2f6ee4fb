//! Passwords: Argon2id, on half of the cores, so that a wave of logins cannot stop everything else.
//!
//! The threads are ours and stay the same ones: each hash takes 19 MiB, and the allocator keeps them for every thread that ever asked.
//! On tokio's threads for blocking work, 100 logins left 380 MiB resident.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError, mpsc},
    thread,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{Semaphore, oneshot};

use crate::secret::Secret;

/// Passwords waiting for their turn, in one process; each thread does some 20 a second. The rest is told to try again.
const MAX_WAITING: usize = 200;

/// Hashes and checks passwords; clones share the threads.
#[derive(Clone, Debug)]
pub struct Passwords {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Semaphore>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Too many passwords are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting")]
pub struct Busy;

impl Default for Passwords {
    fn default() -> Self {
        let (jobs, taken) = mpsc::channel::<Job>();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get).div_ceil(2) {
            let taken = Arc::clone(&taken);
            let work = move || {
                loop {
                    // The lock is held while waiting, not while working.
                    let job = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            let started = thread::Builder::new().name("passwords".to_owned()).spawn(work);
            started.expect("a thread can be started when the process starts");
        }
        Self { jobs, waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
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
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Busy)?;
        let (tell, told) = oneshot::channel();
        let job = move || {
            // Held by the work, not by the caller, who may go away while it runs.
            let _place = place;
            drop(tell.send(work()));
        };
        self.jobs.send(Box::new(job)).map_err(|_| Busy)?;
        told.await.map_err(|_| Busy)
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
