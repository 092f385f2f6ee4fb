//! Replies that come together are written together: whatever waits shares one transaction, all are answered, and so on. There is no
//! timer: alone, a reply waits for nothing; under load, sets grow by themselves.
//!
//! What needs more than its room's row (files, a message to answer, the widget's own words), and what somebody else has just locked, is
//! written alone by [`write::write`], so that it keeps nobody waiting.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    store::{self, CallersKey, NewKey},
    write::{self, Draft, WriteError},
};
use crate::{
    channels::{
        Content,
        messenger::{plain::plain, send, text},
    },
    clock::{Clock, Moment},
    crew::Crew,
    db::{
        self,
        bell::{Bell, Topic},
    },
    ids::{RoomId, TenantId},
    rooms::{
        self, Direction, NewMessage,
        events::{Kind, NewEvent, shown},
        say::{self, Writer},
        store::LockedRoom,
    },
};

/// Replies in one transaction.
const MOST_AT_ONCE: usize = 256;
/// Replies that may wait at one time; more are told to come again.
const MOST_WAITING: usize = 4096;

/// Writes replies. Cheap to clone.
#[derive(Clone)]
pub struct Replies {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    jobs: mpsc::Sender<Job>,
}

/// A reply that waits to be written.
struct Job {
    tenant: TenantId,
    room: RoomId,
    writer: Writer,
    draft: Draft,
    done: oneshot::Sender<Result<Value, WriteError>>,
}

impl Replies {
    /// Nothing waits; whoever writes belongs to `crew`.
    #[must_use]
    pub fn open(db: PgPool, bell: Bell, clock: Clock, crew: &Crew) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let apart = db::apart(&db, db::BY_KEY);
        let scribe = Scribe { apart, db: db.clone(), bell: bell.clone(), clock: clock.clone(), crew: crew.clone() };
        crew.spawn(scribe.run(waiting, crew.stop_token()));
        Self { db, bell, clock, jobs }
    }

    /// Writes a reply into the caller's room. What Messenger takes in several messages becomes several; the first is returned.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    pub async fn write(
        &self,
        tenant: TenantId,
        room: RoomId,
        writer: Writer,
        draft: Draft,
    ) -> Result<Value, WriteError> {
        if !is_plain(&draft) {
            return write::write(&self.db, &self.bell, tenant, room, &writer, draft, self.clock.now()).await;
        }
        let (done, answer) = oneshot::channel();
        let job = Job { tenant, room, writer, draft, done };
        self.jobs.try_send(job).map_err(|_| sqlx::Error::PoolTimedOut)?;
        answer.await.unwrap_or(Err(WriteError::Db(sqlx::Error::WorkerCrashed)))
    }
}

/// Whether a reply needs nothing but its room.
fn is_plain(draft: &Draft) -> bool {
    draft.reply_to.is_none() && matches!(&draft.content, Content::Text { text } if text::keyword(text).is_none())
}

/// The one who writes.
struct Scribe {
    /// Writes sets.
    apart: PgPool,
    /// Writes what is written alone.
    db: PgPool,
    bell: Bell,
    clock: Clock,
    crew: Crew,
}

/// What became of a set: each reply's answer, or none where it has to be written alone.
type Answers = Vec<Option<Result<Value, WriteError>>>;

/// A set that could not be written.
enum Failed {
    /// Nothing of it is stored.
    Before(sqlx::Error),
    /// Nobody knows: the commit was not answered.
    Unknown(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Before(error)
    }
}

impl Scribe {
    async fn run(self, mut waiting: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut jobs = Vec::new();
        loop {
            if jobs.is_empty() {
                let first = tokio::select! {
                    job = waiting.recv() => job,
                    () = stop.cancelled(), if !waiting.is_closed() => {
                        // What has been taken in is still written.
                        waiting.close();
                        continue;
                    }
                };
                let Some(first) = first else { return };
                jobs.push(first);
            }
            while jobs.len() < MOST_AT_ONCE
                && let Ok(job) = waiting.try_recv()
            {
                jobs.push(job);
            }
            jobs = self.write_firsts(jobs).await;
        }
    }

    /// Writes the first reply of each room; returns those that come after it.
    async fn write_firsts(&self, jobs: Vec<Job>) -> Vec<Job> {
        let mut rooms = HashSet::new();
        let (set, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|it| rooms.insert((it.tenant, it.room)));
        let answers = match self.transaction(&set).await {
            Ok(answers) => answers,
            Err(Failed::Before(sqlx::Error::Database(error))) => {
                warn!(error = %error, "{} replies could not be written together", set.len());
                set.iter().map(|_| None).collect()
            }
            Err(Failed::Before(error) | Failed::Unknown(error)) => {
                warn!(error = %error, "{} replies could not be written", set.len());
                set.iter().map(|_| Some(Err(WriteError::Db(sqlx::Error::WorkerCrashed)))).collect()
            }
        };
        let mut tenants = HashSet::new();
        for (job, answer) in set.into_iter().zip(answers) {
            match answer {
                Some(answer) => {
                    if answer.is_ok() {
                        tenants.insert(job.tenant);
                    }
                    // Whoever has hung up may ask again with the same key.
                    drop(job.done.send(answer));
                }
                None => self.write_alone(job),
            }
        }
        if !tenants.is_empty() {
            self.bell.ring(Topic::Outbox);
            tenants.into_iter().for_each(|it| self.bell.ring(Topic::Events(it)));
        }
        later
    }

    fn write_alone(&self, job: Job) {
        let (db, bell, now) = (self.db.clone(), self.bell.clone(), self.clock.now());
        self.crew.spawn(async move {
            let Job { tenant, room, writer, draft, done } = job;
            drop(done.send(write::write(&db, &bell, tenant, room, &writer, draft, now).await));
        });
    }

    async fn transaction(&self, set: &[Job]) -> Result<Answers, Failed> {
        let now = self.clock.now();
        let mut tx = db::begin(&self.apart).await?;
        let wanted: Vec<_> = set.iter().map(|it| (it.tenant, it.room)).collect();
        let mut rooms = rooms::store::lock_free(&mut tx, &wanted).await?;
        let keys: Vec<_> = set.iter().filter_map(key).collect();
        let known = store::find_keys(&mut tx, &keys, write::keys_since(now)).await?;
        let mut news = News::default();
        let answers: Answers = (set.iter())
            .map(|job| {
                let room = rooms.get_mut(&(job.tenant, job.room))?;
                news.add(job, room, &known, now)
            })
            .collect();
        if news.rooms.is_empty() {
            return Ok(answers);
        }
        rooms::store::said::answer(&mut tx, &news.rooms, &news.messages, &news.events, now).await?;
        store::insert_keys(&mut tx, &news.keys, now).await?;
        tx.commit().await.map_err(Failed::Unknown)?;
        Ok(answers)
    }
}

/// The key of a reply, with whose it is.
fn key(job: &Job) -> Option<CallersKey<'_>> {
    let (key, _) = job.draft.key.as_ref()?;
    Some((job.tenant, job.writer.author.id.unwrap_or_default(), key))
}

/// What a set writes.
#[derive(Default)]
struct News<'a> {
    rooms: Vec<(TenantId, RoomId, i64)>,
    messages: Vec<NewMessage>,
    events: Vec<NewEvent>,
    keys: Vec<NewKey<'a>>,
    /// A key that is used twice in a set would be used twice at the same time.
    used: HashSet<CallersKey<'a>>,
}

impl<'a> News<'a> {
    /// Adds a reply; its answer, or nothing if it has to be written alone.
    fn add(
        &mut self,
        job: &'a Job,
        room: &mut LockedRoom,
        known: &HashMap<CallersKey<'_>, (Vec<u8>, Value)>,
        now: Moment,
    ) -> Option<Result<Value, WriteError>> {
        let (key, draft) = (key(job), &job.draft);
        let hash = draft.key.as_ref().map(|(_, hash)| &hash[..]);
        if let Some((first, answer)) = key.and_then(|it| known.get(&it)) {
            return Some(if Some(&first[..]) == hash { Ok(answer.clone()) } else { Err(WriteError::KeyReused) });
        }
        if let Err(error) = write::check_place(room, &job.writer, &draft.content, now) {
            return Some(Err(error));
        }
        // What came since has to be looked at.
        if draft.seen_seq.is_some_and(|seen| seen < room.last_seq) || key.is_some_and(|it| !self.used.insert(it)) {
            return None;
        }
        let content = if room.plain_only { plain(draft.content.clone()) } else { draft.content.clone() };
        let mut first = None;
        for part in send::split(content) {
            let view = say::next(room, &job.writer, Direction::Outbound, &part, None, now);
            first.get_or_insert_with(|| shown(&view));
            self.events.push(NewEvent::message(job.tenant, Kind::MessageCreated, &view, room.agent));
            self.messages.push(NewMessage { tenant: job.tenant, widget: room.widget, external_at: None, view });
        }
        let first = first?;
        self.rooms.push((job.tenant, room.id, room.last_seq));
        if let (Some(key), Some(hash)) = (key, hash) {
            self.keys.push(NewKey { key, hash, answer: first.clone() });
        }
        Some(Ok(first))
    }
}
