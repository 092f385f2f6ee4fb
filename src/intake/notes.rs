//! What webhooks say about their Meta apps: that events come, and that signatures are wrong. Gathered here and written down once a second,
//! so that neither a flood nor a wrong secret makes a write of its own for every webhook.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sqlx::PgPool;
use tracing::warn;

use super::store;
use crate::{
    clock::Clock,
    crew::{Step, Worker},
    db::bell::{Bell, Topic},
    ids::{MetaAppId, TenantId},
};

/// The notes of a process.
pub struct Notes {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    apps: Mutex<HashMap<MetaAppId, Note>>,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    owner: TenantId,
    /// Rightly signed events came.
    came: bool,
    /// Wrong signatures since.
    failures: u32,
}

impl Notes {
    /// Nothing noted yet.
    #[must_use]
    pub fn new(db: PgPool, bell: Bell, clock: Clock) -> Self {
        Self { db, bell, clock, apps: Mutex::default() }
    }

    /// Rightly signed events are durable.
    pub fn events_came(&self, owner: TenantId, app: MetaAppId) {
        self.lock().insert(app, Note { owner, came: true, failures: 0 });
    }

    /// A signature was wrong.
    pub fn signature_failed(&self, owner: TenantId, app: MetaAppId) {
        self.lock().entry(app).or_insert(Note { owner, came: false, failures: 0 }).failures += 1;
    }

    /// Nothing of this app has been written down.
    fn put_back(&self, app: MetaAppId, note: Note) {
        let mut apps = self.lock();
        let newer = apps.entry(app).or_insert(Note { failures: 0, ..note });
        newer.failures += if newer.came { 0 } else { note.failures };
        newer.came |= note.came;
    }

    async fn write(&self, app: MetaAppId, note: Note) -> sqlx::Result<()> {
        let now = self.clock.now();
        let mut told = Vec::new();
        if note.came {
            told.extend(store::mark_events(&self.db, note.owner, app, now).await?);
        }
        if note.failures > 0 {
            warn!(app.id = %app, failures = note.failures, "{} webhooks for app {app} have a wrong signature", note.failures);
            told.extend(store::mark_bad_signatures(&self.db, note.owner, app, note.failures, now).await?);
        }
        told.into_iter().for_each(|it| self.bell.ring(Topic::Events(it)));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MetaAppId, Note>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker for Notes {
    const NAME: &'static str = "notes";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut failed = None;
        let notes = mem::take(&mut *self.lock());
        for (app, note) in notes {
            if let Err(error) = self.write(app, note).await {
                self.put_back(app, note);
                failed = Some(error);
            }
        }
        // At its pace, however much there is to note.
        failed.map_or(Ok(Step::Idle), |error| Err(error.into()))
    }
}
