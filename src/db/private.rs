//! The private PostgreSQL: a server of our own in the data directory, for installations that bring none.
//!
//! One thread, the keeper, owns it from the first lock to the last signal: it makes the cluster, starts the server,
//! starts it again when it dies, and stops it. Nobody else signals it, so no signal can hit a stranger.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{oneshot, watch};

use super::{
    find::{self, Installation, NotFound},
    place::Place,
    process::{self, PidFile},
};

/// How long PostgreSQL may write out its buffers at a stop before it is cut off (its log then repeats the writes).
const FAST_STOP: Duration = Duration::from_secs(60);
/// How long a cut-off may take before the process is killed.
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);
/// So often PostgreSQL is started again within [`RESTART_WINDOW`]; then something is wrong that a restart won't cure.
const MAX_RESTARTS: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// What each further restart in the window waits longer.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// The role and the database that everything but the making of them uses. Not a superuser: those pass row security.
const NAME: &str = "chatgate";

/// What a crash of the machine may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Nothing that was committed.
    Full,
    /// Everything. Fast; for test databases in memory. The role may create databases.
    ThrowAway,
}

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct PrivateSettings {
    /// The cluster goes into `postgres` in here.
    pub data_dir: PathBuf,
    /// The directory of `postgres` and `initdb`; `None` looks in the usual ones.
    pub bin_dir: Option<PathBuf>,
    /// Full for people, throw-away for tests.
    pub durability: Durability,
    /// How many connections we will open; the server allows more, for people who look inside.
    pub max_connections: u32,
}

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No PostgreSQL on this machine, or none that fits the data.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// One server per directory.
    #[error("another chatgate (pid {pid}) uses this directory: {}", path.display())]
    InUse {
        /// The other's process id.
        pid: String,
        /// The directory.
        path: PathBuf,
    },
    /// Processes of an earlier PostgreSQL do not go away.
    #[error("an earlier PostgreSQL still uses {} and does not stop", path.display())]
    StillRunning {
        /// The cluster.
        path: PathBuf,
    },
    /// We are root, PostgreSQL's user is not, and a directory keeps it out.
    #[error(
        "{user}, who runs PostgreSQL for root, cannot pass through {}: run `chmod o+x` on it, \
         choose another data directory, or start chatgate as a user other than root", blocker.display()
    )]
    Unreachable {
        /// The first directory that is closed.
        blocker: PathBuf,
        /// Who cannot enter.
        user: String,
    },
    /// PostgreSQL refuses to run as root.
    #[error("{} belongs to root, but PostgreSQL does not run as root: give it (chown -R) to another user", path.display())]
    OwnedByRoot {
        /// The cluster.
        path: PathBuf,
    },
    /// We are root and there is nobody to run PostgreSQL as.
    #[error("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody")]
    NoUser,
    /// A directory is open to others, or theirs.
    #[error("{} is not a directory for PostgreSQL alone: remove it, or make it mode 0700", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// A program of PostgreSQL ended by itself.
    #[error("{what} failed ({status}), its last words:{log}")]
    Stopped {
        /// The program.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output, each on a line of its own.
        log: String,
    },
    /// The operating system refused something.
    #[error("could not {what} {}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// Its object.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The role or the database could not be made.
    #[error("could not set up the private PostgreSQL")]
    SetUp(#[from] sqlx::Error),
    /// [`PrivatePostgres::stop`] came while it was starting.
    #[error("stopped while PostgreSQL was starting")]
    StoppedByUs,
}

/// For `map_err`: says what was tried with which path.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { what, path, source }
}

/// A running PostgreSQL server of our own. Dropping it asks the server to stop without waiting for that.
#[derive(Debug)]
pub struct PrivatePostgres {
    events: mpsc::Sender<Event>,
    state: watch::Receiver<State>,
    sockets: PathBuf,
    shown: String,
}

/// What happens to a keeper.
#[derive(Debug)]
enum Event {
    /// The server's process ended.
    Ended,
    /// We want it to.
    Stop,
}

/// What others may know about a keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Failed(String),
    Stopped,
}

impl PrivatePostgres {
    /// Finds PostgreSQL, makes the cluster if there is none, and returns when the server takes connections.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(settings: PrivateSettings) -> Result<Self, StartError> {
        let began = Instant::now();
        let (events, received) = mpsc::channel();
        let (started, starting) = oneshot::channel();
        let (tell, state) = watch::channel(State::Kept);
        let (role, own_events, root) = (role_sql(settings.durability), events.clone(), settings.data_dir.clone());
        let keep = move || Keeper::keep(&settings, own_events, &received, started, &tell);
        // A thread of its own and not one of tokio's: the server is asked to stop when the thread that forked it ends.
        thread::Builder::new().name("postgres".into()).spawn(keep).map_err(failed("start a thread for", &root))?;
        let (place, from) = starting.await.map_err(|_| StartError::StoppedByUs)??;
        let mut postgres = Self { events, state, sockets: place.sockets, shown: String::new() };
        postgres.make_role_and_database(role).await?;
        postgres.shown = format!(
            "embedded PostgreSQL {} ({}), data in {}, ready in {:.1} s",
            from.version,
            from.bin.display(),
            place.root.display(),
            began.elapsed().as_secs_f32()
        );
        Ok(postgres)
    }

    /// How to connect as the role `chatgate` to the database `chatgate`.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.admin_options().username(NAME).database(NAME)
    }

    /// How to connect as superuser; for setting up, and for tests that make databases.
    #[must_use]
    pub fn admin_options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().socket(&self.sockets).port(5432);
        options.username("postgres").database("postgres").application_name("chatgate")
    }

    /// One sentence about it for the operator.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Resolves, with the reason, when PostgreSQL died and could not be kept running; else never.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let mut state = self.state.clone();
        async move {
            let reason = match state.wait_for(|it| matches!(it, State::Failed(_))).await.as_deref() {
                Ok(State::Failed(reason)) => Some(reason.clone()),
                _ => None, // stopped on purpose
            };
            match reason {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        }
    }

    /// Stops the server and waits for its end. Close the pools first: it does not wait for clients.
    pub async fn stop(&self) {
        let _ = self.events.send(Event::Stop);
        let _ = self.state.clone().wait_for(|it| *it != State::Kept).await;
    }

    async fn make_role_and_database(&self, role: &'static str) -> sqlx::Result<()> {
        let mut admin = PgConnection::connect_with(&self.admin_options()).await?;
        let exists = sqlx::query("select from pg_roles where rolname = $1").bind(NAME);
        if exists.fetch_optional(&mut admin).await?.is_none() {
            sqlx::query(role).execute(&mut admin).await?;
        }
        let exists = sqlx::query("select from pg_database where datname = $1").bind(NAME);
        if exists.fetch_optional(&mut admin).await?.is_none() {
            sqlx::query("create database chatgate owner chatgate").execute(&mut admin).await?;
        }
        admin.close().await
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop);
    }
}

fn role_sql(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "create role chatgate login",
        Durability::ThrowAway => "create role chatgate login createdb",
    }
}

/// The thread that owns the server.
struct Keeper<'a> {
    place: Place,
    from: Installation,
    own_events: mpsc::Sender<Event>,
    events: &'a mpsc::Receiver<Event>,
}

/// A server that takes connections.
struct Running {
    child: Child,
    log_start: u64,
}

type Started = Result<(Place, Installation), StartError>;

impl Keeper<'_> {
    fn keep(
        settings: &PrivateSettings,
        own_events: mpsc::Sender<Event>,
        events: &mpsc::Receiver<Event>,
        started: oneshot::Sender<Started>,
        tell: &watch::Sender<State>,
    ) {
        let prepared = Self::prepare(settings, own_events, events);
        // `directory` is the lock on it, which outlives the server.
        let (keeper, directory, running) = match prepared {
            Ok((keeper, directory)) => match keeper.start() {
                Ok(running) => (keeper, directory, running),
                Err(error) => return drop(started.send(Err(error))),
            },
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok((keeper.place.clone(), keeper.from.clone())));
        let end = keeper.watch_over(running);
        drop(directory);
        let _ = tell.send(end);
    }

    fn prepare<'a>(
        settings: &PrivateSettings,
        own_events: mpsc::Sender<Event>,
        events: &'a mpsc::Receiver<Event>,
    ) -> Result<(Keeper<'a>, fs::File), StartError> {
        // Asked first: without a PostgreSQL nothing is to be made on the disk.
        let from = find::find(settings.bin_dir.as_deref(), None)?;
        let place = Place::prepare(&settings.data_dir)?;
        let directory = process::lock_directory(&place)?;
        let from = match process::cluster_version(&place.data())? {
            Some(major) if major != from.major => find::find(settings.bin_dir.as_deref(), Some(major))?,
            _ => from,
        };
        write_config(&place, settings)?;
        if !place.data().exists() {
            let lock = process::claim(&place)?;
            process::make_cluster(&from, &place, settings.durability, &lock)?;
        }
        Ok((Keeper { place, from, own_events, events }, directory))
    }

    /// Starts the server and waits until it is ready, however long it has to repeat its log.
    fn start(&self) -> Result<Running, StartError> {
        let lock = process::claim(&self.place)?;
        let (child, log_start) = process::spawn_server(&self.from, &self.place, lock)?;
        let mut running = Running { child, log_start };
        let own_events = self.own_events.clone();
        if let Err(error) = process::when_ended(&running.child, move || drop(own_events.send(Event::Ended))) {
            let _ = running.child.kill();
            let _ = running.child.wait();
            return Err(failed("watch", &self.place.root)(error));
        }
        let (data, pid) = (self.place.data(), rustix::process::Pid::from_child(&running.child));
        let mut next_word = Instant::now() + Duration::from_secs(5);
        while !PidFile::read(&data).is_some_and(|it| it.pid == pid && it.is_ready) {
            match self.events.recv_timeout(Duration::from_millis(5)) {
                Ok(Event::Ended) => return Err(self.reap(&mut running)),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.stop(running);
                    return Err(StartError::StoppedByUs);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() > next_word {
                tracing::info!("waiting for PostgreSQL, which is probably recovering from a crash");
                next_word += Duration::from_secs(5);
            }
        }
        Ok(running)
    }

    /// Keeps the server running until we want it to stop, or it cannot be kept.
    fn watch_over(&self, mut running: Running) -> State {
        let mut restarts = Restarts::default();
        loop {
            match self.events.recv() {
                Ok(Event::Stop) | Err(_) => {
                    self.stop(running);
                    return State::Stopped;
                }
                Ok(Event::Ended) => {}
            }
            let mut reason = self.reap(&mut running);
            running = loop {
                let text = reason.to_string();
                let Some(pause) = restarts.next(Instant::now()) else {
                    tracing::error!(error = text, "PostgreSQL could not be kept running: {text}");
                    return State::Failed(text);
                };
                tracing::error!(error = text, "PostgreSQL ended by itself and is started again: {text}");
                // Anything that comes in the pause is a wish to stop: no server runs that could end.
                if !matches!(self.events.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return State::Stopped;
                }
                match self.start() {
                    Ok(running) => break running,
                    Err(StartError::StoppedByUs) => return State::Stopped,
                    Err(error) => reason = error,
                }
            };
            tracing::info!("PostgreSQL runs again");
        }
    }

    fn reap(&self, running: &mut Running) -> StartError {
        match running.child.wait() {
            Ok(status) => process::ended(&self.place, running.log_start, status),
            Err(error) => failed("wait for", &self.place.root)(error),
        }
    }

    /// Fast, then immediate, then dead. Not "smart": that waits for clients without end.
    fn stop(&self, mut running: Running) {
        for (signal, patience) in [(Signal::INT, FAST_STOP), (Signal::QUIT, IMMEDIATE_STOP)] {
            process::signal(&running.child, signal);
            let deadline = Instant::now() + patience;
            loop {
                match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(Event::Stop) => {} // again
                    Ok(Event::Ended) => return drop(running.child.wait()),
                    Err(_) => break,
                }
            }
            tracing::warn!("PostgreSQL did not stop within {} s", patience.as_secs());
        }
        let _ = running.child.kill();
        let _ = running.child.wait();
    }
}

/// Counts the restarts of the last minute.
#[derive(Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// How long to wait before the next restart; `None` when there were too many.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|it| now.duration_since(*it) > RESTART_WINDOW) {
            self.0.pop_front();
        }
        if self.0.len() >= MAX_RESTARTS {
            return None;
        }
        self.0.push_back(now);
        // At once, after 0.5 s, after 1 s.
        Some(RESTART_PAUSE * (self.0.len() as u32 - 1))
    }
}

/// Writes the settings. It is done at every start, so that a new chatgate brings its own; `alter system` overrides them.
fn write_config(place: &Place, settings: &PrivateSettings) -> Result<(), StartError> {
    let path = place.config();
    let text = config(settings, find_memory_bytes());
    let write = || {
        let unfinished = path.with_extension("conf.new");
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        // PostgreSQL's user reads it, whatever our umask is. There is nothing secret in it.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(failed("write", &path))
}

fn config(settings: &PrivateSettings, memory_bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    let common = "# Written by chatgate at every start. Use `alter system` for settings of your own.
include 'data/postgresql.conf'
jit = off
max_parallel_workers_per_gather = 0
idle_in_transaction_session_timeout = 60s
log_line_prefix = '%m [%p] '
log_timezone = 'UTC'
timezone = 'UTC'
";
    let own = match settings.durability {
        Durability::Full => format!(
            "shared_buffers = {}MB
max_connections = {}
max_wal_size = 2GB
checkpoint_timeout = 15min
wal_compression = on
",
            (memory_bytes / 8 / MIB).clamp(32, 512),
            (settings.max_connections + 20).max(100)
        ),
        Durability::ThrowAway => "shared_buffers = 64MB
max_connections = 300
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 1h
"
        .to_owned(),
    };
    format!("{common}{own}")
}

/// The memory of the machine or, if that is less, of our container; where neither is known, a small machine's.
fn find_memory_bytes() -> u64 {
    const UNKNOWN: u64 = 1 << 30;
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    let of_container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|it| it.trim().parse().ok());
    of_machine.into_iter().chain(of_container).min().unwrap_or(UNKNOWN)
}
