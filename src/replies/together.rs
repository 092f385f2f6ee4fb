//! Replies that come together are written together: whatever waits shares one transaction, all are answered, and so on. There is no
//! timer: alone, a reply waits for nothing; under load, sets grow by themselves. The same transaction claims them, if they are few and
//! may go: they leave as soon as it is committed.
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
    Outgoing,
    claims::{Claimed, Claims},
    store::{self, CallersKey, NewKey},
    write::{self, Draft, WriteError},
};
use crate::{
    channels::{
        Content,
        messenger::{plain::plain, send, text},
    },
    clock::Moment,
    crew::Crew,
    db::{self, bell::Topic},
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
/// Sets of more replies are claimed by the worker that sends, while the next set is written here.
const MOST_CLAIMED: usize = 16;
/// Replies that may wait at one time; more are told to come again.
const MOST_WAITING: usize = 4096;

/// Writes replies. Cheap to clone.
#[derive(Clone)]
pub struct Replies {
    outgoing: Outgoing,
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
    /// Nothing waits; whoever writes belongs to `crew`. What is written is claimed at once, as far as it may go.
    #[must_use]
    pub fn open(claims: Claims, crew: &Crew) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let outgoing = claims.outgoing().clone();
        let scribe = Scribe { apart: db::apart(&outgoing.db, db::BY_KEY), crew: crew.clone(), claims };
        crew.spawn(scribe.run(waiting, crew.stop_token()));
        Self { outgoing, jobs }
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
            let Outgoing { db, bell, clock, .. } = &self.outgoing;
            return write::write(db, bell, tenant, room, &writer, draft, clock.now()).await;
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
    crew: Crew,
    claims: Claims,
}

/// What became of a set: each reply's answer, or none where it has to be written alone.
type Answers = Vec<Option<Result<Value, WriteError>>>;

/// A set that was written.
struct Written {
    answers: Answers,
    /// What is to be sent now.
    claimed: Option<Claimed>,
    /// Something is due that was not claimed.
    is_left: bool,
}

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
        let mut is_left = false;
        let answers = match self.transaction(&set).await {
            Ok(written) => {
                is_left = written.is_left;
                if let Some(claimed) = written.claimed {
                    self.claims.start(claimed);
                }
                written.answers
            }
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
            let bell = &self.claims.outgoing().bell;
            if is_left {
                bell.ring(Topic::Outbox);
            }
            tenants.into_iter().for_each(|it| bell.ring(Topic::Events(it)));
        }
        later
    }

    fn write_alone(&self, job: Job) {
        let outgoing = self.claims.outgoing().clone();
        self.crew.spawn(async move {
            let Job { tenant, room, writer, draft, done } = job;
            let (db, bell, now) = (&outgoing.db, &outgoing.bell, outgoing.clock.now());
            drop(done.send(write::write(db, bell, tenant, room, &writer, draft, now).await));
        });
    }

    async fn transaction(&self, set: &[Job]) -> Result<Written, Failed> {
        let now = self.claims.outgoing().clock.now();
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
            return Ok(Written { answers, claimed: None, is_left: false });
        }
        rooms::store::said::answer(&mut tx, &news.rooms, &news.messages, &news.events, now).await?;
        store::insert_keys(&mut tx, &news.keys, now).await?;
        // One more than was written: so it is known whether others wait.
        let is_few = set.len() <= MOST_CLAIMED && self.claims.takes_at_once();
        let most = if is_few { news.messages.len() + 1 } else { 0 };
        let claimed = self.claims.claim(&mut tx, now, most).await?;
        // What could not be claimed because of the one ahead of it has to be heard by whoever settles that one just now.
        let is_left = !claimed.has_all || !news.messages.iter().all(|it| claimed.has(it.view.id));
        tx.commit().await.map_err(Failed::Unknown)?;
        Ok(Written { answers, claimed: Some(claimed), is_left })
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
