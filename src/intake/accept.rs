//! The promise: a webhook's items are durable before it is answered 200. All requests that wait at a moment share one statement.
//!
//! Nothing here depends on Graph, profiles, queues or rooms.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tracing::warn;

use super::{NewItem, shard, store};
use crate::{
    channels::meta::{
        envelope::{self, Lane},
        handshake, signature,
    },
    clock::{Clock, Moment},
    crew::Crew,
    db::bell::{Bell, Topic},
    ids::ItemId,
    seal::SealKey,
    secret::Secret,
};

/// Requests that may wait for the writer at one time; more are answered 503 at once.
const MOST_WAITING: usize = 4096;
/// Bytes of bodies that may wait for the writer at one time, in KiB; the bound of this door's memory.
const MOST_WAITING_KIB: u32 = 64 * 1024;
/// Items in one statement; a request with more is still written whole.
const MOST_ITEMS: usize = 1000;
/// Meta wants an answer within 5 s; past this the caller is told to come again.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an app's secrets may be kept in memory without asking again; changes ring the bell at once.
const KEYS_KEPT: Duration = Duration::from_secs(30);
/// How often wrong signatures may make us look for a newer secret.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// Why a webhook is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No app has this key.
    #[error("unknown key")]
    UnknownKey,
    /// Not signed with the app's secret.
    #[error("bad signature")]
    BadSignature,
    /// The database cannot store it now, or too much waits.
    #[error("try again")]
    Busy,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    db: PgPool,
    bell: Bell,
    seal: SealKey,
    clock: Clock,
    apps: Arc<Mutex<HashMap<String, Kept>>>,
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

struct Job {
    items: Vec<NewItem>,
    done: oneshot::Sender<Result<(), Refused>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Clone)]
struct Kept {
    app: Arc<Keys>,
    loaded: Instant,
}

struct Keys {
    owner: crate::ids::TenantId,
    id: crate::ids::MetaAppId,
    secret: Secret,
    previous: Option<(Secret, Moment)>,
}

impl Intake {
    /// Opens the way in; its writer belongs to `crew`.
    #[must_use]
    pub fn open(db: PgPool, bell: Bell, seal: SealKey, clock: Clock, crew: &Crew) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let room = Arc::new(Semaphore::new(MOST_WAITING_KIB as usize));
        let intake = Self { db, bell, seal, clock, apps: Arc::default(), jobs, room };
        crew.spawn(write(intake.db.clone(), intake.bell.clone(), intake.clock.clone(), waiting, crew.stop_token()));
        let (apps, mut changes, stop) =
            (Arc::clone(&intake.apps), intake.bell.waiter(crate::db::bell::Work::Config), crew.stop_token());
        crew.spawn(async move {
            loop {
                tokio::select! {
                    () = changes.rung() => apps.lock().unwrap_or_else(PoisonError::into_inner).clear(),
                    () = stop.cancelled() => return,
                }
            }
        });
        intake
    }

    /// Answers Meta's verification of the callback: the challenge, if the token is right.
    ///
    /// # Errors
    /// The database's. Never answered from memory, so that a new token works at once.
    pub async fn verify(&self, key: &str, query: &str) -> sqlx::Result<Result<Option<String>, Refused>> {
        let Some(app) = store::find_app(&self.db, key).await? else { return Ok(Err(Refused::UnknownKey)) };
        let challenge = handshake::answer(query, &Secret::new(app.verify_token));
        if challenge.is_some() {
            for tenant in store::mark_verified(&self.db, app.owner, app.id, self.clock.now()).await? {
                self.bell.ring(Topic::Events(tenant));
            }
        }
        Ok(Ok(challenge))
    }

    /// Checks the signature over the bytes as they came, then writes every item down. `Ok` means durable.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is stored then.
    pub async fn accept(&self, key: &str, signature: Option<&str>, body: &[u8]) -> Result<(), Refused> {
        let app = self.check(key, signature, body).await?;
        let now = self.clock.now();
        let kib = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(kib).map_err(|_| Refused::Busy)?;
        let items = items(&app, body, now);
        metrics::counter!("chatgate_items_received_total").increment(items.len() as u64);
        let (done, answer) = oneshot::channel();
        self.jobs.try_send(Job { items, done, _room: room }).map_err(|_| Refused::Busy)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(Refused::Busy),
        }
    }

    async fn check(&self, key: &str, signature: Option<&str>, body: &[u8]) -> Result<Arc<Keys>, Refused> {
        let kept = self.kept(key);
        let (app, loaded) = match kept {
            Some(it) => (it.app, it.loaded),
            None => (self.load(key).await?, Instant::now()),
        };
        if self.is_signed(&app, signature, body) {
            return Ok(app);
        }
        // Another process may have changed the secret a moment ago.
        if loaded.elapsed() > RELOAD_PAUSE && signature.is_some() {
            let app = self.load(key).await?;
            if self.is_signed(&app, signature, body) {
                return Ok(app);
            }
        }
        metrics::counter!("chatgate_signature_failures_total", "app" => app.id.to_string()).increment(1);
        warn!(app.id = %app.id, "a webhook for app {} has a wrong signature", app.id);
        if let Err(error) = store::mark_bad_signature(&self.db, app.owner, app.id, self.clock.now()).await {
            warn!(error = %error, "the wrong signature could not be noted");
        }
        Err(Refused::BadSignature)
    }

    fn is_signed(&self, app: &Keys, signature: Option<&str>, body: &[u8]) -> bool {
        signature::verify(&app.secret, signature, body).is_ok()
            || app.previous.as_ref().is_some_and(|(secret, until)| {
                self.clock.now() < *until && signature::verify(secret, signature, body).is_ok()
            })
    }

    fn kept(&self, key: &str) -> Option<Kept> {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.get(key).filter(|it| it.loaded.elapsed() < KEYS_KEPT).cloned()
    }

    async fn load(&self, key: &str) -> Result<Arc<Keys>, Refused> {
        let found = store::find_app(&self.db, key).await.map_err(|error| {
            warn!(error = %error, "the database did not answer a webhook");
            Refused::Busy
        })?;
        let Some(found) = found else {
            self.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Err(Refused::UnknownKey);
        };
        let open = |sealed: &[u8], what: &str| {
            self.seal.open(found.owner, found.id.0, what, sealed).map_err(|error| {
                tracing::error!(app.id = %found.id, error = %error, "the secret of app {} cannot be opened: is this the right seal key?", found.id);
                Refused::Busy
            })
        };
        let previous = match (&found.previous_app_secret, found.previous_until) {
            (Some(sealed), Some(until)) => Some((open(sealed, "app_secret")?, until)),
            _ => None,
        };
        let app = Arc::new(Keys {
            owner: found.owner,
            id: found.id,
            secret: open(&found.app_secret, "app_secret")?,
            previous,
        });
        let kept = Kept { app: Arc::clone(&app), loaded: Instant::now() };
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), kept);
        Ok(app)
    }
}

fn items(app: &Keys, body: &[u8], now: Moment) -> Vec<NewItem> {
    let new = |lane: Lane, page_id: String, sender: String, kind: String, raw: Vec<u8>| NewItem {
        id: ItemId::fresh(now),
        owner: app.owner,
        app: app.id,
        shard: shard(&page_id, &sender),
        lane: lane.as_str(),
        page_id,
        sender,
        kind,
        state: "pending",
        outcome: None,
        raw,
        entry_time: None,
        received_at: now,
    };
    let Ok(split) = envelope::split(body) else {
        let item = new(Lane::Entry, String::new(), String::new(), "unreadable".to_owned(), body.to_vec());
        return vec![NewItem { state: "parked", outcome: Some("not a JSON object"), ..item }];
    };
    let items = split.into_iter().map(|it| {
        let is_ours = it.object == "page";
        let is_direct = it.channel == Lane::Messaging;
        let item = new(it.channel, it.page_id, it.sender, it.kind, it.raw.into_string().into_bytes());
        let (state, outcome) = match (is_ours, is_direct) {
            (true, true) => ("pending", None),
            (true, false) => ("ignored", Some("kept")),
            (false, _) => ("ignored", Some("another object than page")),
        };
        NewItem { state, outcome, entry_time: it.entry_time, ..item }
    });
    items.collect()
}

/// Takes everything that waits, writes it in one statement, answers all, repeats: alone, a message waits for nothing; under load,
/// batches grow by themselves.
async fn write(
    db: PgPool,
    bell: Bell,
    clock: Clock,
    mut waiting: mpsc::Receiver<Job>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        let first = tokio::select! {
            job = waiting.recv() => job,
            () = stop.cancelled(), if !waiting.is_closed() => {
                // What has been taken in is still written.
                waiting.close();
                continue;
            }
        };
        let Some(first) = first else { return };
        let mut jobs = vec![first];
        let mut count = jobs[0].items.len();
        while count < MOST_ITEMS {
            let Ok(job) = waiting.try_recv() else { break };
            count += job.items.len();
            jobs.push(job);
        }
        let items: Vec<NewItem> = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.items)).collect();
        metrics::histogram!("chatgate_intake_batch_items").record(items.len() as f64);
        let started = Instant::now();
        let written = store::insert_items(&db, &items).await;
        metrics::histogram!("chatgate_intake_write_seconds").record(started.elapsed().as_secs_f64());
        if let Err(error) = &written {
            warn!(error = %error, items = items.len(), "{} items could not be stored; their senders are told to try again", items.len());
        }
        for job in jobs {
            // Whoever has stopped waiting will send it again, and the second delivery changes nothing.
            drop(job.done.send(if written.is_ok() { Ok(()) } else { Err(Refused::Busy) }));
        }
        if written.is_ok() {
            bell.ring(Topic::Intake);
            let apps: BTreeSet<_> = items.iter().map(|it| (it.owner.0, it.app.0)).collect();
            let (owners, apps): (Vec<_>, Vec<_>) = apps.into_iter().unzip();
            if let Err(error) = store::mark_events(&db, &owners, &apps, clock.now()).await {
                warn!(error = %error, "the time of the last event could not be noted");
            }
        }
    }
}
