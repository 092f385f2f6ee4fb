//! The event log as people see it: live streams and the pull. One reader for each tenant that has streams in this process; it hands
//! what it reads to all of them. A stream that falls behind goes on from the log.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use sqlx::PgPool;
use tokio::sync::broadcast;

use crate::{
    crew::Crew,
    db::bell::Bell,
    ids::{TenantId, UserId},
    rooms::{
        events::{Cursor, EventView, Logged},
        store,
    },
};

/// Events that a slow stream may be behind before it reads the log again.
const KEPT: usize = 512;
/// Events read at once.
const PAGE: i64 = 500;
/// How often the log is looked at when nobody rings: the net for a lost ring, and for events held back by a slow transaction.
const POLL: Duration = Duration::from_millis(500);

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Whose log.
    pub tenant: TenantId,
    /// None: sees all of the tenant. Else an agent, who sees what is theirs.
    pub agent: Option<UserId>,
}

impl Reader {
    fn may_see(&self, event: &Logged) -> bool {
        self.agent.is_none_or(|me| event.agents.contains(&Some(me.0)))
    }
}

/// Hands out streams. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    db: PgPool,
    bell: Bell,
    crew: Crew,
    tenants: Arc<Mutex<HashMap<TenantId, Weak<Tail>>>>,
}

/// The end of one tenant's log, as far as it has been read.
struct Tail {
    sender: broadcast::Sender<Arc<Logged>>,
}

impl Live {
    /// Streams of this process.
    #[must_use]
    pub fn new(db: PgPool, bell: Bell, crew: Crew) -> Self {
        Self { db, bell, crew, tenants: Arc::default() }
    }

    /// A stream of what the reader may see, behind `after` or from now on.
    ///
    /// # Errors
    /// The database's.
    pub async fn follow(&self, reader: Reader, after: Option<Cursor>) -> sqlx::Result<Stream> {
        let tail = self.tail(reader.tenant).await?;
        // First listen, then read the log: what lies between comes twice and is recognised by its cursor.
        let news = tail.sender.subscribe();
        let at = match after {
            Some(after) => after,
            None => store::load_end(&self.db).await?,
        };
        Ok(Stream { db: self.db.clone(), reader, at, behind: true, buffer: VecDeque::new(), news, _tail: tail })
    }

    /// Events behind `after`, waiting up to `wait` for the first one; with the cursor to go on from.
    ///
    /// # Errors
    /// The database's.
    pub async fn pull(
        &self,
        reader: Reader,
        after: Cursor,
        limit: usize,
        wait: Duration,
    ) -> sqlx::Result<(Vec<EventView>, Cursor)> {
        let mut stream = self.follow(reader, Some(after)).await?;
        let mut events = Vec::new();
        let deadline = tokio::time::Instant::now() + wait;
        while events.len() < limit {
            if !stream.has_more().await? {
                if !events.is_empty() {
                    break;
                }
                match tokio::time::timeout_at(deadline, stream.next()).await {
                    Ok(event) => events.push(event?),
                    Err(_) => break,
                }
            } else if let Some(event) = stream.buffer.pop_front() {
                stream.at = event.cursor;
                events.push(event.event.clone());
            }
        }
        Ok((events, stream.at))
    }

    async fn tail(&self, tenant: TenantId) -> sqlx::Result<Arc<Tail>> {
        if let Some(tail) = self.known(tenant) {
            return Ok(tail);
        }
        // Where the tail begins is known before anybody reads the log up to it: nothing lies between.
        let from = store::load_end(&self.db).await?;
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return Ok(tail);
        }
        tenants.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail { sender: broadcast::channel(KEPT).0 });
        tenants.insert(tenant, Arc::downgrade(&tail));
        let (db, rings, stop) = (self.db.clone(), self.bell.events(), self.crew.stop_token());
        self.crew.spawn(read(db, rings, tenant, from, Arc::downgrade(&tail), stop));
        Ok(tail)
    }

    fn known(&self, tenant: TenantId) -> Option<Arc<Tail>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).and_then(Weak::upgrade)
    }
}

/// Reads one tenant's log for as long as anybody follows it.
async fn read(
    db: PgPool,
    mut rings: broadcast::Receiver<TenantId>,
    tenant: TenantId,
    mut at: Cursor,
    tail: Weak<Tail>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        let Some(strong) = tail.upgrade() else { return };
        match read_on(&db, tenant, &mut at, &strong).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, error = %error, "the event log of tenant {tenant} cannot be read; trying again")
            }
        }
        drop(strong);
        let poll = tokio::time::sleep(POLL);
        tokio::pin!(poll);
        loop {
            tokio::select! {
                ring = rings.recv() => match ring {
                    Ok(rung) if rung != tenant && rung != Bell::EVERY_TENANT => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                    Err(broadcast::error::RecvError::Closed) => { poll.as_mut().await; break }
                },
                () = &mut poll => break,
                () = stop.cancelled() => return,
            }
        }
    }
}

async fn read_on(db: &PgPool, tenant: TenantId, at: &mut Cursor, tail: &Tail) -> sqlx::Result<bool> {
    let events = store::list_events(db, tenant, *at, PAGE).await?;
    *at = events.last().map_or(*at, |it| it.cursor);
    let more = i64::try_from(events.len()).unwrap_or(0) == PAGE;
    for event in events {
        // Nobody listens at this moment: fine.
        drop(tail.sender.send(Arc::new(event)));
    }
    Ok(more)
}

/// Events one after the other; nothing missing, nothing twice.
pub struct Stream {
    db: PgPool,
    reader: Reader,
    at: Cursor,
    /// The log may hold events behind `at` that `news` does not bring.
    behind: bool,
    buffer: VecDeque<Arc<Logged>>,
    news: broadcast::Receiver<Arc<Logged>>,
    _tail: Arc<Tail>,
}

impl Stream {
    /// The next event the reader may see.
    ///
    /// # Errors
    /// The database's; the stream can be asked again.
    pub async fn next(&mut self) -> sqlx::Result<EventView> {
        loop {
            if self.has_more().await?
                && let Some(event) = self.buffer.pop_front()
            {
                self.at = event.cursor;
                return Ok(event.event.clone());
            }
            match self.news.recv().await {
                Ok(event) if event.cursor <= self.at => {}
                Ok(event) if self.reader.may_see(&event) => self.buffer.push_back(event),
                Ok(event) => self.at = event.cursor,
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                // The reader's task ended with the process, or for want of followers a moment ago: the log knows.
                Err(broadcast::error::RecvError::Closed) => {
                    tokio::time::sleep(POLL).await;
                    self.behind = true;
                }
            }
        }
    }

    /// Fills the buffer from the log if the stream is behind; whether there is anything in it.
    async fn has_more(&mut self) -> sqlx::Result<bool> {
        while self.behind && self.buffer.is_empty() {
            let events = store::list_events(&self.db, self.reader.tenant, self.at, PAGE).await?;
            self.behind = i64::try_from(events.len()).unwrap_or(0) == PAGE;
            let last = events.last().map(|it| it.cursor);
            self.buffer.extend(events.into_iter().filter(|it| self.reader.may_see(it)).map(Arc::new));
            if let (true, Some(last)) = (self.buffer.is_empty(), last) {
                self.at = last;
            }
        }
        Ok(!self.buffer.is_empty())
    }
}
