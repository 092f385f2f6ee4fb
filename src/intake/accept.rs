//! The promise: a webhook's items are durable before it is answered 200. All requests that wait at a moment share one write.
//!
//! The promise depends on nothing of Graph, profiles, queues or rooms: what the write can put into its room at once goes there with it, and
//! if that fails the items are written down alone.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    task::{self, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    NewItem, OTHER_OBJECT,
    familiar::Familiar,
    line::{Line, Waits},
    meter,
    notes::Notes,
    shard, short,
    store::{
        self,
        accept::{Written, insert_items},
    },
    strands::Strands,
};
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
    rooms::receive::IntoRooms,
    seal::SealKey,
    secret::Secret,
};

/// Requests that may wait for the writer at one time; more are answered 503 at once.
const MOST_WAITING: usize = 4096;
/// Bytes of bodies that may be under way at one time, from their first byte to their commit, in KiB. Items, statement and wire take as
/// much again, twice, so this is a third of what the door needs at most. An app may use as much as it leaves for others: alone, half,
/// which is one of the largest bodies and many small ones; and a caller who knows one app's key cannot shut the door of the rest.
const MOST_UNDER_WAY_KIB: usize = 32 * 1024;
/// Meta wants an answer within 5 s; past this the caller is told to come again.
const PATIENCE: Duration = Duration::from_secs(4);
/// Writes that may be under way at one time: while one waits for the disk, the next is made. A third would only make them smaller.
const WRITES: u32 = 2;
/// What a flood waits from turn to turn while others come, in times of what its turn took: else it would keep the machine busy, which is
/// what the others would feel. They do not wait for its turn to end.
const FLOOD_RESTS: u32 = 2;
/// It rests no more when it has waited for so long: it may be no flood but most of what comes, and Meta does not wait for ever.
const FLOOD_PATIENCE: Duration = Duration::from_millis(500);
/// The second one begins when it has as many items as this: fewer are quicker with those that come meanwhile.
const WORTH_A_WRITE: usize = 16;
/// Items that may go the short way together. More are promised sooner than they could be applied, and applied better in larger sets.
const MOST_AT_ONCE: usize = 256;
/// So do those of a webhook with more items than this; what they say is not looked at before it has to be.
const MOST_IN_ONE: usize = 32;
/// The door is pressed when so many requests were written together, and the first of them had waited for so long, or when they were more
/// than may go the short way together: more comes than can be applied. That a flood waits for its turn says nothing.
const PRESSED_BY: usize = 32;
/// See [`PRESSED_BY`]; far less than Meta waits.
const PRESSED_AFTER: Duration = Duration::from_millis(150);
/// It is pressed no more when the first waited shorter than this.
const RELAXED_BELOW: Duration = Duration::from_millis(60);
/// How long the appliers hold back after a write under pressure: more than the next write takes.
const HOLD_BACK: Duration = Duration::from_millis(60);
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
    notes: Arc<Notes>,
    jobs: mpsc::Sender<Job>,
    /// The writer is pressed: nothing goes the short way.
    is_pressed: Arc<AtomicBool>,
    memory: Fair<MetaAppId>,
    hasher: RandomState,
}

struct Job {
    /// Whose webhook; a Page's, where the app is the operator's and its Pages are many tenants'.
    whose: String,
    items: Vec<NewItem>,
    senders: Vec<u64>,
    since: Instant,
    done: oneshot::Sender<Result<(), Refused>>,
    _share: Share,
}

impl Waits for Job {
    fn whose(&self) -> &str {
        &self.whose
    }

    fn items(&self) -> usize {
        self.items.len()
    }

    fn senders(&self) -> &[u64] {
        &self.senders
    }
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
    pub fn open(
        db: PgPool,
        bell: Bell,
        seal: SealKey,
        clock: Clock,
        crew: &Crew,
        strands: Strands,
        notes: Arc<Notes>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let memory = Fair::of(MOST_UNDER_WAY_KIB);
        let (apps, is_pressed, hasher) = (Arc::default(), Arc::<AtomicBool>::default(), RandomState::new());
        let intake = Self { db, bell, seal, clock, apps, notes, jobs, is_pressed, memory, hasher };
        let db = db::several_apart(&intake.db, WRITES, db::BY_KEY);
        let (bell, clock, notes) = (intake.bell.clone(), intake.clock.clone(), Arc::clone(&intake.notes));
        let (familiar, is_pressed) = (Mutex::default(), Arc::clone(&intake.is_pressed));
        let writer = Writer { db, bell, clock, strands, notes, familiar, is_pressed };
        crew.spawn(Arc::new(writer).run(waiting, crew.stop_token()));
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
        let items = items(&app, &body, self.is_pressed.load(Ordering::Relaxed), now);
        drop(body);
        let (done, answer) = oneshot::channel();
        let whose = match items.first() {
            Some(it) if app.owner == TenantId::PLATFORM => it.page_id.clone(),
            _ => app.owner.to_string(),
        };
        let senders = items.iter().filter(|it| !it.sender.is_empty());
        let senders = senders.map(|it| self.hasher.hash_one((&it.page_id, &it.sender))).collect();
        self.jobs.try_send(Job { whose, items, senders, since, done, _share: share }).map_err(|_| {
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
        self.notes.signature_failed(app.owner, app.id);
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

fn items(app: &Keys, body: &[u8], is_pressed: bool, now: Moment) -> Vec<NewItem> {
    let new = |lane: Lane, page_id: String, sender: String, kind: Cow<'static, str>, raw: Vec<u8>| NewItem {
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
        plain: None,
    };
    let Ok(split) = envelope::split(body) else {
        let item = new(Lane::Entry, String::new(), String::new(), "unreadable".into(), body.to_vec());
        return vec![NewItem { state: Some("parked"), outcome: Some("not a JSON object"), ..item }];
    };
    let may_be_short = !is_pressed && split.len() <= MOST_IN_ONE;
    let items = split.into_iter().map(|it| {
        let is_direct = it.channel == Lane::Messaging;
        let item = new(it.channel, it.page_id, it.sender, it.kind, it.raw.into_string().into_bytes());
        let (state, outcome) = match (it.object == "page", is_direct) {
            (true, true) => (None, None),
            (true, false) if it.channel == Lane::Standby => (Some("ignored"), Some("observed")),
            (true, false) => (Some("ignored"), Some("kept")),
            (false, _) => (Some("ignored"), Some(OTHER_OBJECT)),
        };
        let item = NewItem { state, outcome, entry_time: it.entry_time, ..item };
        NewItem { plain: if may_be_short { short::plain(&item).map(Box::new) } else { None }, ..item }
    });
    items.collect()
}

/// A write that is under way.
struct Write {
    senders: Vec<u64>,
    /// When the first of its requests came.
    first: Instant,
    jobs: usize,
    began: Instant,
    /// Somebody wanted more of it than their part.
    floods: bool,
}

/// Writes down what was accepted.
struct Writer {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    strands: Strands,
    notes: Arc<Notes>,
    familiar: Mutex<Familiar>,
    is_pressed: Arc<AtomicBool>,
}

impl Writer {
    /// Has everything written that waits, all answered, and so on: alone, a message waits for nothing; under load, batches grow by
    /// themselves.
    async fn run(self: Arc<Self>, mut waiting: mpsc::Receiver<Job>, stop: tokio_util::sync::CancellationToken) {
        let (mut line, mut is_pressed, mut is_open) = (Line::new(), false, true);
        let mut writing = JoinSet::new();
        let mut under_way: HashMap<task::Id, Write> = HashMap::new();
        // All that waits is of senders of whom something is being written.
        let mut is_blocked = false;
        // When a flood has its next turn; it has it now if there is none.
        let mut flood_at = Some(Instant::now());
        while is_open || line.len() > 0 || !writing.is_empty() {
            let now = Instant::now();
            while line.len() < MOST_WAITING
                && let Ok(job) = waiting.try_recv()
            {
                line.push(job, now);
            }
            let is_late = line.first().is_some_and(|it: &Job| now - it.since >= FLOOD_PATIENCE);
            let ((any_floods, only_floods), floods_too) =
                (line.floods(), flood_at.is_some_and(|at| is_late || now >= at));
            let may_write = match writing.len() {
                0 => line.len() > 0 && (!only_floods || floods_too),
                one if one < WRITES as usize => {
                    let is_worth_it = !is_blocked && line.len() >= WORTH_A_WRITE && line.fits(now) >= WORTH_A_WRITE;
                    is_worth_it || (any_floods && !only_floods)
                }
                _ => false,
            };
            if may_write {
                let jobs = line.take(now, floods_too);
                is_blocked = jobs.is_empty();
                if !is_blocked {
                    let floods = floods_too && line.floods().0;
                    if floods {
                        flood_at = None;
                    }
                    let senders = jobs.iter().flat_map(|it| &it.senders).copied().collect();
                    let write = Write { senders, first: jobs[0].since, jobs: jobs.len(), began: now, floods };
                    let writer = Arc::clone(&self);
                    under_way.insert(writing.spawn(async move { writer.write(jobs, is_pressed).await }).id(), write);
                    continue;
                }
            }
            tokio::select! {
                job = waiting.recv(), if is_open && line.len() < MOST_WAITING => match job {
                    Some(job) => line.push(job, Instant::now()),
                    None => is_open = false,
                },
                Some(ended) = writing.join_next_with_id() => {
                    let id = ended.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                    let Some(Write { senders, first, jobs, began, floods }) = under_way.remove(&id) else { continue };
                    line.written(&senders);
                    is_blocked = false;
                    let (now, is_late) = (Instant::now(), if is_pressed { RELAXED_BELOW } else { PRESSED_AFTER });
                    if floods {
                        flood_at = Some(now + FLOOD_RESTS * (now - began));
                    }
                    is_pressed = jobs > MOST_AT_ONCE || (jobs >= PRESSED_BY && !floods && now - first >= is_late);
                    self.is_pressed.store(is_pressed, Ordering::Relaxed);
                    if is_pressed {
                        self.strands.hold_back(now, now + HOLD_BACK);
                    }
                }
                () = sleep_until(flood_at.unwrap_or(now)), if writing.is_empty() && line.len() > 0 => {}
                // What has been taken in is still written.
                () = stop.cancelled(), if !waiting.is_closed() => waiting.close(),
            }
        }
    }

    /// Writes all of these and answers them.
    async fn write(&self, mut jobs: Vec<Job>, is_pressed: bool) {
        let mut items: Vec<NewItem> = Vec::with_capacity(jobs.len());
        {
            let mut familiar = self.familiar.lock().unwrap_or_else(PoisonError::into_inner);
            for job in &mut jobs {
                let is_familiar = familiar.knows(&job.senders);
                familiar.meet(&job.senders);
                let of_job = std::mem::take(&mut job.items).into_iter();
                items.extend(of_job.map(|it| NewItem { plain: it.plain.filter(|_| is_familiar), ..it }));
            }
        }
        let started = Instant::now();
        let written = self.store(&items, is_pressed).await;
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
        for tenant in written.shown {
            self.bell.ring(Topic::Events(tenant));
        }
        if !written.strands.is_empty() {
            for (tenant, shard) in written.strands {
                self.strands.add(tenant, 1 << shard);
            }
            // Only here: what other processes accepted they apply themselves, and if they die, a look into the ledger finds it.
            self.bell.ring_here(Topic::Intake);
        }
        let apps: BTreeSet<_> = items.iter().map(|it| (it.owner.0, it.app)).collect();
        apps.into_iter().for_each(|it| self.notes.events_came(TenantId(it.0), it.1));
    }

    /// Writes items down; under pressure only that.
    async fn store(&self, items: &[NewItem], is_pressed: bool) -> sqlx::Result<Written> {
        let now = self.clock.now();
        let mut connection = self.db.acquire().await?;
        if !is_pressed && items.len() <= MOST_AT_ONCE && items.iter().any(|it| it.plain.is_some()) {
            match short::write(&mut connection, items, now).await {
                // Whatever was in the way: the promise does not depend on it, and applying knows what to do.
                Err(sqlx::Error::Database(error)) => {
                    warn!(error = %error, "messages go the long way: {error}");
                }
                done => return done,
            }
        }
        insert_items(&mut connection, items, &IntoRooms::default(), &HashMap::new(), now).await
    }
}
