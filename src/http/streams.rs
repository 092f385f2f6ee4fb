//! What keeps open streams honest: who has one, whose credential still counts, and the end of all of them at shutdown.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::{App, access};
use crate::{
    clock::Moment,
    ids::{TenantId, UserId},
    people::{self, Authenticated, Caller, Staff},
};

/// A signed-out, removed or changed caller's streams end within this time.
const CHECKED_EVERY: Duration = Duration::from_secs(15);

/// The credential a stream was opened with, looked at again and again for as long as it is open.
pub struct Credential {
    app: App,
    token: String,
    staff: Staff,
    checked_at: Moment,
}

impl Credential {
    /// The one of this request, which has just been found good.
    #[must_use]
    pub fn of(app: &App, headers: &HeaderMap, staff: &Staff) -> Self {
        let token = access::credentials(headers).unwrap_or_default();
        Self { app: app.clone(), token, staff: staff.clone(), checked_at: app.clock.now() }
    }

    /// Whether it was good at most 15 s ago. A database that does not answer changes nothing.
    pub async fn still_counts(&mut self) -> bool {
        let now = self.app.clock.now();
        if (now - self.checked_at).to_std().is_ok_and(|age| age < CHECKED_EVERY) {
            return true;
        }
        match people::authenticate(&self.app.db, &self.token, now).await {
            Ok(Authenticated::As(Caller::Staff(staff))) => {
                self.checked_at = now;
                staff.roles == self.staff.roles && staff.reads == self.staff.reads
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(error = %error, "a stream's credential cannot be looked at; trying again");
                true
            }
        }
    }

    /// Waits until it does not count any more.
    pub async fn ended(&mut self) {
        loop {
            tokio::time::sleep(CHECKED_EVERY).await;
            if !self.still_counts().await {
                return;
            }
        }
    }
}

/// Which agents have streams open in this process.
#[derive(Clone, Default)]
pub struct Streams {
    counts: Arc<Mutex<HashMap<(TenantId, UserId), usize>>>,
    closing: CancellationToken,
}

/// An open stream; closing it is dropping this.
pub struct Open {
    streams: Streams,
    who: (TenantId, UserId),
}

impl Streams {
    /// Counts a stream of this user as open until what is returned is dropped.
    #[must_use]
    pub fn opened(&self, tenant: TenantId, user: UserId) -> Open {
        *self.lock().entry((tenant, user)).or_default() += 1;
        Open { streams: self.clone(), who: (tenant, user) }
    }

    /// Who has a stream open.
    #[must_use]
    pub fn open(&self) -> Vec<(TenantId, UserId)> {
        self.lock().keys().copied().collect()
    }

    /// Is cancelled when every stream has to end.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Ends every stream: they never would by themselves.
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, UserId), usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(count) = open.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}
