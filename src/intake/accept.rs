//! The promise: a webhook's items are durable before it is answered 200. All requests that wait at a moment share one statement.
//!
//! Nothing here depends on Graph, profiles, queues or rooms.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::warn;

use super::{NewItem, OTHER_OBJECT, meter, shard, store, strands::Strands};
use crate::{
    channels::meta::{
        envelope::{self, Lane},
        handshake, signature,
    },
    clock::{Clock, Moment},
    crew::Crew,
    db::{
        self,
        bell::{Bell, Topic, Work},
    },
    fair::{Fair, Portion},
    ids::{self, ItemId, MetaAppId, TenantId},
    seal::SealKey,
    secret::Secret,
};

/// Requests that may wait for the writer at one time; more are answered 503 at once.
const MOST_WAITING: usize = 4096;
/// Bytes of bodies that may be under way at one time, from their first byte to their commit, in KiB. Items, statement and wire take as
/// much again, twice, so this is a third of what the door needs at most. An app may use as much as it leaves for others: alone, half,
/// which is one of the largest bodies and many small ones; and a caller who knows one app's key cannot shut the door of the rest.
const MOST_UNDER_WAY_KIB: usize = 32 * 1024;
/// Items in one statement; a request with more is still written whole.
const MOST_ITEMS: usize = 1000;
/// Meta wants an answer within 5 s; past this the caller is told to come again.
const PATIENCE: Duration = Duration::from_secs(4);
/// The door is pressed when so many requests wait together, and the first of them for so long: another wrote or applied meanwhile.
const PRESSED_BY: usize = 32;
/// See [`PRESSED_BY`]. A write of that many takes a third of it.
const PRESSED_AFTER: Duration = Duration::from_millis(15);
/// How long the appliers hold back after a write under pressure: more than the next write takes.
const HOLD_BACK: Duration = Duration::from_millis(60);
/// How long an app's secrets may be kept in memory without asking again; changes ring the bell at once.
const KEYS_KEPT: Duration = Duration::from_secs(30);
/// How often the time of an app's last event is noted.
const NOTE_EVERY: chrono::TimeDelta = chrono::TimeDelta::seconds(1);
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
    noted: Noted,
    jobs: mpsc::Sender<Job>,
    memory: Fair<MetaAppId>,
}

/// When each app's events were last noted.
type Noted = Arc<Mutex<HashMap<MetaAppId, Moment>>>;

struct Job {
    items: Vec<NewItem>,
    since: Instant,
    done: oneshot::Sender<Result<(), Refused>>,
    _share: Share,
}

/// A webhook's part of the memory that bodies may take: grows while the body comes in, and is given back with it.
pub struct Share {
    memory: Portion<MetaAppId>,
    bytes: usize,
}

impl Share {
    /// Takes what so many more bytes need.
    ///
    /// # Errors
    /// [`Refused::Busy`] if there is no more: the writer does not keep up, or too many bodies of this app come slowly.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        self.bytes += bytes;
        if self.memory.grow_to(self.bytes / 1024 + 1) {
            return Ok(());
        }
        meter::refused("full");
        Err(Refused::Busy)
    }
}

#[derive(Clone)]
struct Kept {
    app: Arc<Keys>,
    loaded: Instant,
}

struct Keys {
    owner: TenantId,
    id: MetaAppId,
    secret: Secret,
    previous: Option<(Secret, Moment)>,
}

impl Intake {
    /// Opens the way in; its writer belongs to `crew`.
    #[must_use]
    pub fn open(db: PgPool, bell: Bell, seal: SealKey, clock: Clock, crew: &Crew, strands: Strands) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let memory = Fair::of(MOST_UNDER_WAY_KIB);
        let intake = Self { db, bell, seal, clock, apps: Arc::default(), noted: Arc::default(), jobs, memory };
        let (db, bell, clock) = (db::apart(&intake.db, []), intake.bell.clone(), intake.clock.clone());
        let writer = Writer { db, bell, clock, strands, noted: Arc::clone(&intake.noted) };
        crew.spawn(writer.run(waiting, crew.stop_token()));
        let (apps, mut changes, stop) = (Arc::clone(&intake.apps), intake.bell.waiter(Work::Config), crew.stop_token());
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

    /// Somebody posts to this key: what the body may take of the memory, nothing yet.
    ///
    /// # Errors
    /// [`Refused::UnknownKey`], before anything of the body is kept.
    pub async fn begin(&self, key: &str) -> Result<Share, Refused> {
        let app = match self.kept(key) {
            Some(it) => it.app,
            None => self.load(key).await?,
        };
        Ok(Share { memory: self.memory.portion(app.id), bytes: 0 })
    }

    /// Checks the signature over the bytes as they came, then writes every item down. `Ok` means durable.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is stored then.
    pub async fn accept(
        &self,
        key: &str,
        signature: Option<&str>,
        body: Bytes,
        mut share: Share,
    ) -> Result<(), Refused> {
        let since = Instant::now();
        // An empty one waits for the writer as well.
        share.grow(0)?;
        let app = self.check(key, signature, &body).await?;
        let now = self.clock.now();
        let items = items(&app, &body, now);
        drop(body);
        let (done, answer) = oneshot::channel();
        self.jobs.try_send(Job { items, since, done, _share: share }).map_err(|_| {
            meter::refused("full");
            Refused::Busy
        })?;
        let written = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(Refused::Busy),
        };
        if written.is_err() {
            meter::refused("database");
        }
        written
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
        meter::bad_signature(app.id);
        warn!(app.id = %app.id, "a webhook for app {} has a wrong signature", app.id);
        // The next right one takes it off the app's health at once.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(&app.id);
        match store::mark_bad_signature(&self.db, app.owner, app.id, self.clock.now()).await {
            Ok(told) => told.into_iter().for_each(|it| self.bell.ring(Topic::Events(it))),
            Err(error) => warn!(error = %error, "the wrong signature could not be noted"),
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
            meter::refused("database");
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
        // Their order is `seq`; [`ItemId::fresh`] would put ids into the future after a clock that was set back.
        id: ItemId(ids::at(now)),
        owner: app.owner,
        app: app.id,
        shard: shard(&page_id, &sender),
        lane: lane.as_str(),
        page_id,
        sender,
        kind,
        state: None,
        outcome: None,
        raw,
        entry_time: None,
        received_at: now,
    };
    let Ok(split) = envelope::split(body) else {
        let item = new(Lane::Entry, String::new(), String::new(), "unreadable".to_owned(), body.to_vec());
        return vec![NewItem { state: Some("parked"), outcome: Some("not a JSON object"), ..item }];
    };
    let items = split.into_iter().map(|it| {
        let is_ours = it.object == "page";
        let is_direct = it.channel == Lane::Messaging;
        let item = new(it.channel, it.page_id, it.sender, it.kind, it.raw.into_string().into_bytes());
        let (state, outcome) = match (is_ours, is_direct) {
            (true, true) => (None, None),
            (true, false) if it.channel == Lane::Standby => (Some("ignored"), Some("observed")),
            (true, false) => (Some("ignored"), Some("kept")),
            (false, _) => (Some("ignored"), Some(OTHER_OBJECT)),
        };
        NewItem { state, outcome, entry_time: it.entry_time, ..item }
    });
    items.collect()
}

/// Writes down what was accepted.
struct Writer {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    strands: Strands,
    noted: Noted,
}

impl Writer {
    /// Takes everything that waits, writes it in one statement, answers all, repeats: alone, a message waits for nothing; under load,
    /// batches grow by themselves.
    async fn run(self, mut waiting: mpsc::Receiver<Job>, stop: tokio_util::sync::CancellationToken) {
        let mut is_pressed = false;
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
            let (first, many) = (jobs[0].since, jobs.len() >= PRESSED_BY);
            self.write(jobs).await;
            // Once they hold back, writes are quick again; it is over when fewer come.
            let now = Instant::now();
            is_pressed = many && (is_pressed || now - first >= PRESSED_AFTER);
            if is_pressed {
                self.strands.hold_back(now, now + HOLD_BACK);
            }
        }
    }

    async fn write(&self, mut jobs: Vec<Job>) {
        let items: Vec<NewItem> = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.items)).collect();
        let started = Instant::now();
        let written = store::insert_items(&self.db, &items, self.clock.now()).await;
        match &written {
            Ok(written) => meter::stored(&items, &written.settled, started.elapsed()),
            Err(error) => {
                warn!(error = %error, items = items.len(), "{} items could not be stored; their senders are told to try again", items.len());
            }
        }
        for job in jobs {
            if written.is_ok() {
                meter::durable(job.since.elapsed());
            }
            // Whoever has stopped waiting will send it again, and the second delivery changes nothing.
            drop(job.done.send(if written.is_ok() { Ok(()) } else { Err(Refused::Busy) }));
        }
        let Ok(written) = written else { return };
        for (tenant, shard) in written.strands {
            self.strands.add(tenant, 1 << shard);
        }
        // Only here: what other processes accepted they apply themselves, and if they die, a look into the ledger finds it.
        self.bell.ring_here(Topic::Intake);
        self.note(&items).await;
    }

    /// Notes that events came, once a second for each app.
    async fn note(&self, items: &[NewItem]) {
        let now = self.clock.now();
        let apps: BTreeSet<_> = {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = |at: Option<&Moment>| at.is_none_or(|at| now - *at >= NOTE_EVERY);
            let due: BTreeSet<_> =
                items.iter().filter(|it| is_due(noted.get(&it.app))).map(|it| (it.owner.0, it.app)).collect();
            noted.extend(due.iter().map(|it| (it.1, now)));
            due
        };
        if apps.is_empty() {
            return;
        }
        let (owners, apps): (Vec<_>, Vec<_>) = apps.into_iter().map(|it| (it.0, it.1.0)).unzip();
        match store::mark_events(&self.db, &owners, &apps, now).await {
            Ok(told) => told.into_iter().for_each(|it| self.bell.ring(Topic::Events(it))),
            Err(error) => warn!(error = %error, "the time of the last event could not be noted"),
        }
    }
}
