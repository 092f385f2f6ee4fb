//! The private PostgreSQL: a server of our own in the data directory, for installations that bring none.
//!
//! This file is what others see of it; `keeper` does the work.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::mpsc,
    thread,
    time::Instant,
};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{oneshot, watch};

use super::{
    find::NotFound,
    keeper::{self, Event, State},
    place::Place,
};

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

/// How to connect to the server that another chatgate runs in this directory.
pub(super) fn running(data_dir: &Path) -> Result<PgConnectOptions, StartError> {
    let place = Place::prepare(data_dir, Path::new(keeper::REACHABLE_BY_ALL))?;
    Ok(PgConnectOptions::new_without_pgpass().socket(&place.sockets).port(5432).username(NAME).database(NAME))
}

/// A running PostgreSQL server of our own. Dropping it asks the server to stop without waiting for that.
#[derive(Debug)]
pub struct PrivatePostgres {
    events: mpsc::Sender<Event>,
    state: watch::Receiver<State>,
    sockets: PathBuf,
    shown: String,
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
        // Made before anything is awaited: if this future is dropped, so is this, and the keeper stops.
        let mut postgres = Self { events: events.clone(), state, sockets: PathBuf::new(), shown: String::new() };
        let (role, data_dir) = (role_sql(settings.durability), settings.data_dir.clone());
        let keep = move || keeper::keep(&settings, events, received, started, &tell);
        // A thread of its own and not one of tokio's: the server is asked to stop when the thread that forked it ends.
        thread::Builder::new().name("postgres".into()).spawn(keep).map_err(failed("start a thread for", &data_dir))?;
        let (place, from) = starting.await.map_err(|_| StartError::StoppedByUs)??;
        postgres.sockets = place.sockets;
        if let Err(error) = postgres.make_role_and_database(role).await {
            postgres.stop().await;
            return Err(error.into());
        }
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
        sqlx::query(FASTER_COMPRESSION).execute(&mut admin).await?;
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

/// Pages that are written whole after a checkpoint are compressed by LZ4 where PostgreSQL has it: asked of a server that has not, in its
/// settings, it would not start. The usual way costs as much as the messages themselves. What the operator has set stays.
const FASTER_COMPRESSION: &str = "do $$ begin
    if exists (
        select from pg_settings
        where name = 'wal_compression' and 'lz4' = any (enumvals) and sourcefile = current_setting('config_file')
    ) then
        alter role chatgate set wal_compression = 'lz4';
    else
        alter role chatgate reset wal_compression;
    end if;
end $$";

fn role_sql(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "create role chatgate login",
        Durability::ThrowAway => "create role chatgate login createdb",
    }
}
