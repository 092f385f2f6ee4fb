//! Who calls, remembered for a moment: a desk or a program calls again and again with the same token.
//!
//! A token that is revoked here stops at once, because whoever revokes it rings the bell before they are answered; in other processes
//! as soon as they hear the bell, and without it after [`KEPT`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};

use super::{Authenticated, Caller, credentials};
use crate::{
    clock::Moment,
    db::bell::{Bell, Work},
    secret,
};

/// How long a caller is remembered: how long a revoked token may still be good in a process that does not hear the bell.
const KEPT: Duration = Duration::from_secs(2);
/// Callers remembered at one time; with more, all are forgotten.
const MOST_KEPT: usize = 10_000;

/// Finds out who calls.
pub struct Callers {
    db: PgPool,
    kept: Mutex<Kept>,
}

struct Kept {
    changes: watch::Receiver<()>,
    /// How often everybody was forgotten: who was looked up before that may be out of date.
    version: u64,
    callers: HashMap<[u8; 32], Known>,
}

struct Known {
    caller: Caller,
    ends_at: Option<Moment>,
    found: Instant,
}

impl Callers {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(db: PgPool, bell: &Bell) -> Self {
        let kept = Kept { changes: bell.changes(Work::Config), version: 0, callers: HashMap::new() };
        Self { db, kept: Mutex::new(kept) }
    }

    /// Finds who calls with `token`.
    ///
    /// # Errors
    /// Only if the database has to be asked and does not answer.
    pub async fn authenticate(&self, token: &str, now: Moment) -> sqlx::Result<Authenticated> {
        let hash = secret::fingerprint(token);
        let version = {
            let kept = self.kept();
            let known = kept.callers.get(&hash).filter(|it| it.found.elapsed() < KEPT);
            if let Some(known) = known.filter(|it| it.ends_at.is_none_or(|at| now < at)) {
                return Ok(Authenticated::As(known.caller.clone()));
            }
            kept.version
        };
        let found = Instant::now();
        let (who, ends_at) = credentials::look_up(&self.db, token, &hash, now).await?;
        if let Authenticated::As(caller) = &who {
            let mut kept = self.kept();
            if kept.callers.len() >= MOST_KEPT {
                kept.callers.clear();
            }
            if kept.version == version {
                kept.callers.insert(hash, Known { caller: caller.clone(), ends_at, found });
            }
        }
        Ok(who)
    }

    /// What is known, after whatever has changed is forgotten.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that the bell is gone: then nothing would tell of changes.
        if kept.changes.has_changed().unwrap_or(true) {
            kept.changes.mark_unchanged();
            kept.version += 1;
            kept.callers.clear();
        }
        kept
    }
}
