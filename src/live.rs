//! The event log as people see it: live streams and the pull. One reader in each process reads for all tenants who have streams here,
//! in one statement for all that have news, and hands what it reads to the streams. A stream that falls behind goes on from the log.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use sqlx::PgPool;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    crew::Crew,
    db::{self, bell::Bell},
    ids::{TenantId, UserId},
    rooms::{
        events::{Cursor, Logged},
        store,
    },
};

/// Events that a slow stream of all of a tenant's events may be behind before it reads the log again.
const KEPT: usize = 256;
/// The same for an agent's, who sees few of them.
const KEPT_FOR_AGENT: usize = 32;
/// Events read at once.
const PAGE: i64 = 500;
/// How often the log is looked at when nobody rings: the net for a lost ring.
const POLL: Duration = Duration::from_millis(500);
/// How soon the log is looked at again when events were held back by a transaction that had not ended; a quarter longer each time nothing
/// comes of it, so that nobody waits much longer than the transaction took.
const HELD_BACK: Duration = Duration::from_millis(2);

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Whose log.
    pub tenant: TenantId,
    /// None: sees all of the tenant. Else an agent, who sees what is theirs.
    pub agent: Option<UserId>,
}

/// Hands out streams. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    db: PgPool,
    tails: Tails,
}

type Tails = Arc<Mutex<HashMap<TenantId, Weak<Tail>>>>;

/// The end of one tenant's log, as far as it has been read.
struct Tail {
    at: Mutex<Cursor>,
    /// To those who see everything.
    all: Sender,
    /// To agents, each of what concerns them: nobody is woken for others' events, of which there are many times more.
    agents: Mutex<HashMap<Uuid, Sender>>,
}

type Sender = broadcast::Sender<Arc<Logged>>;

impl Tail {
    fn subscribe(&self, reader: Reader) -> broadcast::Receiver<Arc<Logged>> {
        let Some(agent) = reader.agent else { return self.all.subscribe() };
        let mut agents = unpoisoned(&self.agents);
        agents.retain(|_, sender| sender.receiver_count() > 0);
        agents.entry(agent.0).or_insert_with(|| broadcast::channel(KEPT_FOR_AGENT).0).subscribe()
    }

    /// Moves on to an event and hands it to whom it concerns.
    fn send(&self, event: Logged) {
        *unpoisoned(&self.at) = event.cursor;
        let event = Arc::new(event);
        // Nobody listens at this moment: fine, here and below.
        drop(self.all.send(Arc::clone(&event)));
        let agents = unpoisoned(&self.agents);
        let [one, other] = event.agents;
        for agent in [one, other.filter(|_| other != one)].into_iter().flatten() {
            if let Some(sender) = agents.get(&agent) {
                drop(sender.send(Arc::clone(&event)));
            }
        }
    }
}

impl Live {
    /// Streams of this process.
    #[must_use]
    pub fn new(db: PgPool, bell: &Bell, crew: &Crew) -> Self {
        let live = Self { db, tails: Arc::default() };
        let reader =
            LogReader { db: db::apart(&live.db, db::BY_KEY), tails: Arc::clone(&live.tails), rings: bell.events() };
        let stop = crew.stop_token();
        crew.spawn(async move {
            tokio::select! { () = reader.run() => {}, () = stop.cancelled() => {} }
        });
        live
    }

    /// A stream of what the reader may see, behind `after` or from now on.
    ///
    /// # Errors
    /// The database's.
    pub async fn follow(&self, reader: Reader, after: Option<Cursor>) -> sqlx::Result<Stream> {
        let tail = self.tail(reader.tenant).await?;
        // First listen, then read the log: what lies between comes twice and is recognised by its cursor.
        let news = tail.subscribe(reader);
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
    ) -> sqlx::Result<(Vec<Arc<Logged>>, Cursor)> {
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
                events.push(event);
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
        let mut tails = unpoisoned(&self.tails);
        if let Some(tail) = tails.get(&tenant).and_then(Weak::upgrade) {
            return Ok(tail);
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Tail { at: Mutex::new(from), all: broadcast::channel(KEPT).0, agents: Mutex::default() };
        let tail = Arc::new(tail);
        tails.insert(tenant, Arc::downgrade(&tail));
        Ok(tail)
    }

    fn known(&self, tenant: TenantId) -> Option<Arc<Tail>> {
        unpoisoned(&self.tails).get(&tenant).and_then(Weak::upgrade)
    }
}

/// A cursor and a map stay right whatever panicked while holding them.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the logs that somebody follows.
struct LogReader {
    db: PgPool,
    tails: Tails,
    rings: broadcast::Receiver<TenantId>,
}

impl LogReader {
    async fn run(mut self) {
        let mut news = News::default();
        let mut pause = Duration::ZERO;
        loop {
            if news.is_empty() {
                news = self.wait(POLL).await;
                pause = Duration::ZERO;
            }
            match self.read(&mut news).await {
                Ok(read) => {
                    pause = read.pause_after(pause);
                    if read.is_held_back {
                        news.merge(self.wait(pause).await);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the event log cannot be read; trying again");
                    news = News { everybody: true, tenants: HashSet::new() };
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Whose log has grown, once the bell rings; everybody's, if it does not for so long.
    async fn wait(&mut self, most: Duration) -> News {
        let mut news = News::default();
        match tokio::time::timeout(most, self.rings.recv()).await {
            Ok(rung) => news.hear(rung),
            Err(_) => return News { everybody: most == POLL, tenants: HashSet::new() },
        }
        loop {
            match self.rings.try_recv() {
                Ok(tenant) => news.hear(Ok(tenant)),
                Err(broadcast::error::TryRecvError::Lagged(behind)) => {
                    news.hear(Err(broadcast::error::RecvError::Lagged(behind)));
                }
                Err(_) => break,
            }
        }
        if self.rings.is_closed() && news.everybody {
            // Nobody will ring any more; the poll goes on.
            tokio::time::sleep(POLL).await;
        }
        news
    }

    /// Reads on for those with news. Leaves in `news` who has more.
    async fn read(&mut self, news: &mut News) -> sqlx::Result<Read> {
        let due: Vec<(TenantId, Arc<Tail>)> = {
            let tails = unpoisoned(&self.tails);
            let due = tails.iter().filter(|it| news.everybody || news.tenants.contains(it.0));
            due.filter_map(|(tenant, tail)| Some((*tenant, tail.upgrade()?))).collect()
        };
        *news = News::default();
        if due.is_empty() {
            return Ok(Read { is_held_back: false, moved: false });
        }
        let after: Vec<_> = due.iter().map(|(tenant, tail)| (*tenant, *unpoisoned(&tail.at))).collect();
        let read = store::list_news(&self.db, &after).await?;
        let moved = !read.events.is_empty();
        let tails: HashMap<TenantId, Arc<Tail>> = due.into_iter().collect();
        for (tenant, event) in read.events {
            if let Some(tail) = tails.get(&tenant) {
                tail.send(event);
            }
        }
        let is_held_back = !read.held_back.is_empty() && read.full.is_empty();
        news.tenants.extend(read.full.into_iter().chain(read.held_back));
        Ok(Read { is_held_back, moved })
    }
}

/// What reading has come to.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// There is more only because a transaction had not ended.
    is_held_back: bool,
    /// Something was read.
    moved: bool,
}

impl Read {
    /// How long to wait before what is held back is looked at again, when the last wait was `pause`. Where transactions follow each other
    /// without a gap something is always held back, each time by another one: only in vain the wait grows.
    fn pause_after(self, pause: Duration) -> Duration {
        match self {
            Self { is_held_back: false, .. } => Duration::ZERO,
            Self { moved: true, .. } => HELD_BACK,
            Self { moved: false, .. } => (pause + pause / 4).clamp(HELD_BACK, POLL),
        }
    }
}

/// Whose log has grown.
#[derive(Debug, Default)]
struct News {
    everybody: bool,
    tenants: HashSet<TenantId>,
}

impl News {
    fn is_empty(&self) -> bool {
        !self.everybody && self.tenants.is_empty()
    }

    fn merge(&mut self, other: Self) {
        self.everybody |= other.everybody;
        self.tenants.extend(other.tenants);
    }

    fn hear(&mut self, rung: Result<TenantId, broadcast::error::RecvError>) {
        match rung {
            Ok(tenant) if tenant != Bell::EVERY_TENANT => drop(self.tenants.insert(tenant)),
            _ => self.everybody = true,
        }
    }
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
    pub async fn next(&mut self) -> sqlx::Result<Arc<Logged>> {
        loop {
            if self.has_more().await?
                && let Some(event) = self.buffer.pop_front()
            {
                self.at = event.cursor;
                return Ok(event);
            }
            match self.news.recv().await {
                Ok(event) if event.cursor <= self.at => {}
                Ok(event) => self.buffer.push_back(event),
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
            let Reader { tenant, agent } = self.reader;
            let events = store::list_events(&self.db, tenant, agent, self.at, PAGE).await?;
            self.behind = i64::try_from(events.len()).unwrap_or(0) == PAGE;
            self.buffer.extend(events.into_iter().map(Arc::new));
        }
        Ok(!self.buffer.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_running_transaction_grows_only_while_nothing_can_be_read() {
        let (busy, stuck, done) = (
            Read { is_held_back: true, moved: true },
            Read { is_held_back: true, moved: false },
            Read { is_held_back: false, moved: true },
        );
        let mut pause = Duration::ZERO;
        let expected_us =
            [(busy, 2000), (busy, 2000), (stuck, 2500), (stuck, 3125), (busy, 2000), (done, 0), (stuck, 2000)];
        for (read, expected_us) in expected_us {
            pause = read.pause_after(pause);
            assert_eq!(pause, Duration::from_micros(expected_us));
        }
        let longest = (0..30).fold(pause, |pause, _| stuck.pause_after(pause));
        assert_eq!(longest, POLL);
    }
}
