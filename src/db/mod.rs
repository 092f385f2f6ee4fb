//! The database: an operator's PostgreSQL, or a private one that chatgate runs itself ([`private`]).
//!
//! Opens the pool, runs the migrations and, in [`bell`], carries word of news between workers and processes.
//! All other SQL lives in the `store.rs` of the folder it belongs to.

pub mod bell;
mod find;
mod keeper;
pub mod partitions;
mod place;
pub mod private;
mod process;
pub mod statistics;
#[cfg(test)]
mod tests;
mod tuning;

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use find::NotFound;
pub use private::{Durability, PrivatePostgres, PrivateSettings, StartError};

use crate::secret::Secret;

/// A request waits this long for a connection of the pool; then it is better refused than kept waiting.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// At the end, connections still in use are waited for this long; PostgreSQL rolls back what they were doing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A private PostgreSQL leaves some beside its own chatgate's for people and commands.
const JOINED_CONNECTIONS: u32 = 2;

/// Prepared statements that a connection keeps: all that there are. sqlx keeps 100 unless told, and would prepare most of ours again.
const STATEMENTS_KEPT: usize = 1000;
/// A connection that was used this short a time ago is not tried before it is used again.
const TRUSTED: Duration = Duration::from_secs(1);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Which database to use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://user:password@host/name`; `None` or empty runs a private PostgreSQL.
    pub url: Option<Secret>,
    /// The private PostgreSQL keeps its files in `postgres` in here.
    pub data_dir: PathBuf,
    /// The private PostgreSQL's programs; `None` looks in the usual directories.
    pub bin_dir: Option<PathBuf>,
    /// The size of the pool.
    pub max_connections: u32,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The private PostgreSQL does not run.
    #[error(transparent)]
    Private(#[from] StartError),
    /// The URL is not one. (What it is, is not shown: there may be a password in it.)
    #[error("DATABASE_URL cannot be read; it looks like postgres://user:password@host/name")]
    BadUrl(#[source] sqlx::Error),
    /// There is no such server, or it does not let us in.
    #[error("the database {shown} cannot be reached")]
    Unreachable {
        /// Its host and name.
        shown: String,
        /// The reason.
        source: sqlx::Error,
    },
    /// The server is older than the migrations expect.
    #[error("the database {shown} is PostgreSQL {version}; {} or newer is needed", find::OLDEST_MAJOR)]
    TooOld {
        /// Its host and name.
        shown: String,
        /// Its version.
        version: String,
    },
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    /// The connections. Each cuts off a statement after 10 s and a wait for a lock after 5 s.
    pub pool: PgPool,
    /// Which database it is, in words for the operator; no password.
    pub shown: String,
    private: Option<PrivatePostgres>,
}

/// Connects to the operator's database, or starts the private one.
///
/// # Errors
/// [`OpenError`]; nothing is left running then.
pub async fn open(settings: &Settings) -> Result<Database, OpenError> {
    match &settings.url {
        Some(url) if !url.expose().is_empty() => open_external(url, settings.max_connections).await,
        _ => {
            let private = PrivatePostgres::start(PrivateSettings {
                data_dir: settings.data_dir.clone(),
                bin_dir: settings.bin_dir.clone(),
                durability: Durability::Full,
                max_connections: settings.max_connections,
            })
            .await?;
            match connect(private.options(), settings.max_connections).await {
                Ok(pool) => Ok(Database { pool, shown: private.shown().to_owned(), private: Some(private) }),
                Err(error) => {
                    private.stop().await;
                    Err(StartError::SetUp(error).into())
                }
            }
        }
    }
}

/// Connects to the private PostgreSQL that another chatgate runs in this directory; it stays that one's.
///
/// # Errors
/// [`OpenError`].
pub async fn join(data_dir: &std::path::Path) -> Result<Database, OpenError> {
    let shown = format!("the PostgreSQL of the chatgate that runs in {}", data_dir.display());
    match connect(private::running(data_dir)?, JOINED_CONNECTIONS).await {
        Ok(pool) => Ok(Database { pool, shown, private: None }),
        Err(source) => Err(OpenError::Unreachable { shown, source }),
    }
}

async fn open_external(url: &Secret, max_connections: u32) -> Result<Database, OpenError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(OpenError::BadUrl)?;
    let shown = format!("{}/{}", options.get_host(), options.get_database().unwrap_or(options.get_username()));
    let unreachable = |source| OpenError::Unreachable { shown: shown.clone(), source };
    let pool = connect(options, max_connections).await.map_err(unreachable)?;
    let number = sqlx::query_scalar("select current_setting('server_version_num')::int / 10000");
    let major: i32 = number.fetch_one(&pool).await.map_err(unreachable)?;
    if u32::try_from(major).unwrap_or_default() < find::OLDEST_MAJOR {
        pool.close().await;
        return Err(OpenError::TooOld { shown, version: major.to_string() });
    }
    Ok(Database { pool, shown: format!("external {shown}, PostgreSQL {major}"), private: None })
}

/// A pool as chatgate uses it, on any database. Its connections use UTC, as all of sqlx's do.
///
/// # Errors
/// When no connection comes about.
pub async fn connect(options: PgConnectOptions, max_connections: u32) -> sqlx::Result<PgPool> {
    let options = options.application_name("chatgate").options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "60s"),
    ]);
    pool_of(max_connections).connect_with(options.statement_cache_capacity(STATEMENTS_KEPT)).await
}

/// Look rows up by index, never read whole tables: for statements that find few rows in large ones. A plan made while the tables were
/// empty is kept until they are analyzed, and would read all of them. Nor bitmaps: only a plain index scan marks the entries of dead rows,
/// so that the next one passes over them; in a table whose rows live for milliseconds they are nearly all.
pub const BY_KEY: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// A connection for one worker alone, made like those of `pool` when it is first used, with settings of its own. A pool hands its
/// connections out in turn, so that each of them runs everything now and then; a worker that runs a handful of statements all the time
/// is quicker, and PostgreSQL with it, on one that keeps to them. Its plans are made once: making them takes longer than running them.
///
/// A second transaction beside an open one would wait for it in vain.
#[must_use]
pub fn apart<'a>(pool: &PgPool, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> PgPool {
    several_apart(pool, 1, settings)
}

/// The same for a worker that does so many things at a time.
#[must_use]
pub fn several_apart<'a>(
    pool: &PgPool,
    connections: u32,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> PgPool {
    let options = pool.connect_options().as_ref().clone();
    pool_of(connections)
        .connect_lazy_with(options.options([("plan_cache_mode", "force_generic_plan")]).options(settings))
}

fn pool_of(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, about| Box::pin(is_alive(connection, about.idle_for)))
}

/// Whether a connection can be used; asked only where it has been idle for a while, because the question is a round trip. One that has
/// just been used, and broke since, fails its next user, who comes again.
async fn is_alive(connection: &mut PgConnection, idle_for: Duration) -> sqlx::Result<bool> {
    if idle_for > TRUSTED {
        connection.ping().await?;
    }
    Ok(true)
}

/// Begins a transaction; every transaction of the pool begins here. sqlx 0.9.0 gives a connection back with the transaction open if
/// whoever calls its `begin` is dropped (a client that hangs up) while PostgreSQL answers (its issue 4385, mended after 0.9.0): for the
/// next in line, statements without a transaction of their own would seem to be durable and not be, and its locks would stay for a
/// minute. So `begin` is never dropped: it runs in a task of its own.
///
/// # Errors
/// The database's, and [`sqlx::Error::PoolTimedOut`] if no connection becomes free in 3 s.
#[expect(clippy::disallowed_methods, reason = "the one place where a transaction may begin")]
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let connection = pool.acquire().await?;
    let begun = tokio::spawn(Transaction::begin(connection, None));
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

impl Database {
    /// How to connect to it beside the pool.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.pool.connect_options().as_ref().clone()
    }

    /// Whether it is the private PostgreSQL, which no other chatgate uses.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Resolves, with the reason, when the private PostgreSQL could not be kept running; else never.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let failed = self.private.as_ref().map(PrivatePostgres::failed);
        async move {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Closes the pool, then stops the private PostgreSQL. For the very end, after the last write.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!("connections to the database were still in use at the end");
        }
        if let Some(private) = &self.private {
            private.stop().await;
        }
    }
}

/// Brings the tables up to date. Several processes may try at once: one does it, the others wait for it.
///
/// # Errors
/// A migration that fails, one that was changed after it ran, or a database that is newer than this program.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own, because a migration may take longer than a request, and so may the wait for the lock,
    // which also goes away with the connection if a migration fails.
    let patient = [("statement_timeout", "0"), ("lock_timeout", "0")];
    let options = pool.connect_options().as_ref().clone().options(patient);
    let alone = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let done = MIGRATIONS.run(&alone).await;
    alone.close().await;
    done
}

/// The migrations that [`migrate`] would run, by name; for `--no-migrate`, which only wants to know.
///
/// # Errors
/// When the database does not answer.
pub async fn pending_migrations(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    let known: Option<String> =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text").fetch_one(pool).await?;
    let applied: Vec<i64> = match known {
        Some(_) => sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(pool).await?,
        None => Vec::new(),
    };
    let pending = MIGRATIONS.iter().filter(|it| !it.migration_type.is_down_migration());
    let pending = pending.filter(|it| !applied.contains(&it.version));
    Ok(pending.map(|it| format!("{:04} {}", it.version, it.description)).collect())
}
