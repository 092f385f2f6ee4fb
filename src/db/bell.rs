//! The bell: tells workers and readers that there is news, in this process and, if wanted, in the others.
//!
//! It carries no data and no promise. Whoever hears it looks into the database; whoever misses it looks there soon
//! anyway, because everybody also polls. So a lost ring costs time and nothing else.
//!
//! Other processes hear through `pg_notify`, which never runs in the transaction that wrote the news: PostgreSQL
//! holds one lock for all notifying commits, and that alone took three quarters of the write throughput away.
//! Instead one task sends what gathered meanwhile, each topic once, on a connection of its own.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ids::TenantId;

/// The channel of `listen` and `notify`; PostgreSQL keeps those of different databases apart.
const CHANNEL: &str = "chatgate";
/// At most one statement in this time: under load, hundreds of rings become one row each of one statement.
const GATHER: Duration = Duration::from_millis(5);
/// After a failure of the connection.
const RECONNECT: Duration = Duration::from_secs(1);
/// Silence after which the listener's connection is tried: a firewall may have dropped it without a word.
const SILENCE: Duration = Duration::from_secs(60);
/// A reader that falls this far behind is told so by the channel, and looks everywhere.
const EVENTS_KEPT: usize = 1024;

/// What there is news about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// Items wait to be applied.
    Intake,
    /// A tenant's queues may have somebody to assign: a room waits, or a seat is free.
    Queues(TenantId),
    /// A reply waits to be sent.
    Outbox,
    /// A tenant's event stream has grown.
    Events(TenantId),
    /// Settings changed.
    Config,
}

/// What a worker waits for. (Readers of events use [`Bell::events`].)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Work {
    /// [`Topic::Intake`]
    Intake,
    /// [`Topic::Queues`]; [`Bell::take_dirty_queues`] says whose.
    Queues,
    /// [`Topic::Outbox`]
    Outbox,
    /// [`Topic::Config`]
    Config,
}

/// Rings, and lets others wait for it. Cheap to clone; all clones are one bell.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    intake: watch::Sender<()>,
    queues: watch::Sender<()>,
    outbox: watch::Sender<()>,
    config: watch::Sender<()>,
    dirty_queues: Mutex<HashSet<TenantId>>,
    events: broadcast::Sender<TenantId>,
    /// What other processes have yet to hear; `None` where there are none.
    outgoing: Option<Outgoing>,
}

#[derive(Debug, Default)]
struct Outgoing {
    topics: Mutex<HashSet<Topic>>,
    grown: Notify,
}

/// Waits for one kind of work. It remembers a ring that came while nobody waited.
#[derive(Clone, Debug)]
pub struct Waiter(watch::Receiver<()>);

impl Waiter {
    /// Resolves when the bell has rung since the last time. May be dropped and called again without losing a ring.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // the bell is gone: nobody will ring
        }
    }
}

impl Bell {
    /// Stands for every tenant: after a gap in what was heard, everybody should look.
    pub const EVERY_TENANT: TenantId = TenantId::PLATFORM;

    /// A bell that other processes on the same database hear, too. Its two tasks end with `cancel`.
    #[must_use]
    pub fn new(options: PgConnectOptions, cancel: CancellationToken) -> Self {
        let bell = Self::with(Some(Outgoing::default()));
        let process = Uuid::from_u128(rand::random());
        // A commit that waits for the disk would hold the lock of all notifying commits for that long.
        let options = options.application_name("chatgate-bell").options([("synchronous_commit", "off")]);
        tokio::spawn(bell.clone().send(options.clone(), process, cancel.clone()));
        tokio::spawn(bell.clone().listen(options, process, cancel));
        bell
    }

    /// A bell within this process: for tests, and for a private database that no other process uses.
    #[must_use]
    pub fn local() -> Self {
        Self::with(None)
    }

    fn with(outgoing: Option<Outgoing>) -> Self {
        let bell = || watch::channel(()).0;
        Self(Arc::new(Inner {
            intake: bell(),
            queues: bell(),
            outbox: bell(),
            config: bell(),
            dirty_queues: Mutex::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
            outgoing,
        }))
    }

    /// Tells everybody. Call it after the commit, else they look too early. Never blocks.
    pub fn ring(&self, topic: Topic) {
        self.ring_here(topic);
        if let Some(outgoing) = &self.0.outgoing
            && unpoisoned(&outgoing.topics).insert(topic)
        {
            outgoing.grown.notify_one();
        }
    }

    /// Tells those in this process only: for news that others have no use for.
    pub fn ring_here(&self, topic: Topic) {
        match topic {
            Topic::Intake => self.of(Work::Intake).send_replace(()),
            Topic::Outbox => self.of(Work::Outbox).send_replace(()),
            Topic::Config => self.of(Work::Config).send_replace(()),
            Topic::Queues(tenant) => {
                unpoisoned(&self.0.dirty_queues).insert(tenant);
                self.of(Work::Queues).send_replace(());
            }
            Topic::Events(tenant) => drop(self.0.events.send(tenant)), // nobody reads: fine
        }
    }

    /// After something may have been missed.
    fn ring_everything_here(&self) {
        let everybody = Self::EVERY_TENANT;
        let all = [Topic::Intake, Topic::Queues(everybody), Topic::Outbox, Topic::Events(everybody), Topic::Config];
        all.into_iter().for_each(|it| self.ring_here(it));
    }

    fn of(&self, work: Work) -> &watch::Sender<()> {
        match work {
            Work::Intake => &self.0.intake,
            Work::Queues => &self.0.queues,
            Work::Outbox => &self.0.outbox,
            Work::Config => &self.0.config,
        }
    }

    /// For a worker's loop. Rings from before this call are not heard: look once before the first wait.
    #[must_use]
    pub fn waiter(&self, work: Work) -> Waiter {
        Waiter(self.of(work).subscribe())
    }

    /// The same as a bare channel, whose value says nothing.
    #[must_use]
    pub fn changes(&self, work: Work) -> watch::Receiver<()> {
        self.of(work).subscribe()
    }

    /// The tenants whose queues were rung for since the last call. [`Bell::EVERY_TENANT`] among them means all.
    #[must_use]
    pub fn take_dirty_queues(&self) -> HashSet<TenantId> {
        mem::take(&mut *unpoisoned(&self.0.dirty_queues))
    }

    /// The tenants whose events have grown, one after the other. [`Bell::EVERY_TENANT`], and the error `Lagged`,
    /// mean that any may have.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<TenantId> {
        self.0.events.subscribe()
    }

    /// Sends what gathered, as long as there is somebody to ring; then once more.
    async fn send(self, options: PgConnectOptions, process: Uuid, cancel: CancellationToken) {
        let Some(outgoing) = &self.0.outgoing else { return };
        let mut connection = None;
        let mut is_down = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = outgoing.grown.notified() => {}
            }
            let topics = mem::take(&mut *unpoisoned(&outgoing.topics));
            let pause = match notify(&mut connection, &options, process, &topics).await {
                Ok(()) => {
                    is_down = false;
                    GATHER
                }
                Err(error) => {
                    if !mem::replace(&mut is_down, true) {
                        tracing::warn!(error = %error, "other processes do not hear us: {error}");
                    }
                    connection = None;
                    unpoisoned(&outgoing.topics).extend(topics);
                    outgoing.grown.notify_one();
                    RECONNECT
                }
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let topics = mem::take(&mut *unpoisoned(&outgoing.topics));
        if let Some(open) = &mut connection {
            let _ = notify_on(open, process, &topics).await;
        }
    }

    /// Hears the other processes, for ever.
    async fn listen(self, options: PgConnectOptions, process: Uuid, cancel: CancellationToken) {
        let mut is_down = false;
        loop {
            let error = tokio::select! {
                () = cancel.cancelled() => return,
                Err(error) = self.listen_once(&options, process, &mut is_down) => error,
            };
            if !mem::replace(&mut is_down, true) {
                tracing::warn!(error = %error, "we do not hear other processes: {error}");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn listen_once(
        &self,
        options: &PgConnectOptions,
        process: Uuid,
        is_down: &mut bool,
    ) -> sqlx::Result<std::convert::Infallible> {
        let alone = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let mut listener = PgListener::connect_with(&alone.connect_with(options.clone()).await?).await?;
        listener.listen(CHANNEL).await?;
        *is_down = false;
        loop {
            // Whatever was said before we listened, or while the connection was lost, was missed.
            self.ring_everything_here();
            while let Some(heard) = next(&mut listener).await? {
                if let Some(topic) = parse(process, &heard) {
                    self.ring_here(topic);
                }
            }
        }
    }
}

/// The next words from another process; `None` after the connection was lost and made again.
async fn next(listener: &mut PgListener) -> sqlx::Result<Option<String>> {
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(heard) => return Ok(heard?.map(|it| it.payload().to_owned())),
            Err(_) => {
                let alive = sqlx::query("select 1").execute(&mut *listener);
                tokio::time::timeout(RECONNECT, alive).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

async fn notify(
    connection: &mut Option<PgConnection>,
    options: &PgConnectOptions,
    process: Uuid,
    topics: &HashSet<Topic>,
) -> sqlx::Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let open = match connection {
        Some(open) => open,
        None => connection.insert(PgConnection::connect_with(options).await?),
    };
    notify_on(open, process, topics).await
}

async fn notify_on(open: &mut PgConnection, process: Uuid, topics: &HashSet<Topic>) -> sqlx::Result<()> {
    let payloads: Vec<String> = topics.iter().map(|it| format(process, *it)).collect();
    let notify = sqlx::query("select pg_notify($1, payload) from unnest($2::text[]) payload");
    notify.bind(CHANNEL).bind(payloads).execute(open).await.map(|_| ())
}

/// `<process> <topic> [<tenant>]`; the process so that nobody listens to himself.
fn format(process: Uuid, topic: Topic) -> String {
    match topic {
        Topic::Intake => format!("{process} intake"),
        Topic::Outbox => format!("{process} outbox"),
        Topic::Config => format!("{process} config"),
        Topic::Queues(tenant) => format!("{process} queues {tenant}"),
        Topic::Events(tenant) => format!("{process} events {tenant}"),
    }
}

/// `None` for what we said ourselves, and for words of a newer chatgate that we do not know.
fn parse(us: Uuid, payload: &str) -> Option<Topic> {
    let mut words = payload.split(' ');
    let (process, topic) = (words.next()?, words.next()?);
    let tenant = words.next().and_then(|it| it.parse().ok()).map(TenantId);
    if process.parse() == Ok(us) {
        return None;
    }
    match topic {
        "intake" => Some(Topic::Intake),
        "outbox" => Some(Topic::Outbox),
        "config" => Some(Topic::Config),
        "queues" => tenant.map(Topic::Queues),
        "events" => tenant.map(Topic::Events),
        _ => None,
    }
}

/// The sets stay right whatever panicked while holding them.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_understand_what_we_say_and_we_ignore_ourselves() {
        let (us, them, tenant) = (Uuid::from_u128(1), Uuid::from_u128(2), TenantId(Uuid::from_u128(3)));
        for topic in [Topic::Intake, Topic::Queues(tenant), Topic::Outbox, Topic::Events(tenant), Topic::Config] {
            assert_eq!(parse(us, &format(them, topic)), Some(topic));
            assert_eq!(parse(us, &format(us, topic)), None);
        }
        assert_eq!(parse(us, &format!("{them} something new")), None);
        assert_eq!(parse(us, "nonsense"), None);
    }

    #[tokio::test]
    async fn a_ring_while_nobody_waits_is_remembered_by_every_waiter() {
        let bell = Bell::local();
        let (mut first, mut second) = (bell.waiter(Work::Queues), bell.waiter(Work::Queues));
        let tenants = [TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2))];
        bell.ring(Topic::Queues(tenants[0]));
        bell.ring(Topic::Queues(tenants[1]));
        bell.ring(Topic::Queues(tenants[0]));
        first.rung().await;
        second.rung().await;
        assert_eq!(bell.take_dirty_queues(), HashSet::from(tenants));
        assert!(bell.take_dirty_queues().is_empty());
        assert!(!first.0.has_changed().unwrap(), "three rings are one wake");
    }
}
