//! The private PostgreSQL and the bell, run for real. Clusters live in memory, but through the same code.
//!
//! The second process that some of it needs is this test binary again, see [`stand_in_for_chatgate`].

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Durability, NotFound, OpenError, PrivatePostgres, PrivateSettings, Settings, StartError,
    bell::{Bell, Topic, Work},
    connect, migrate, open, pending_migrations,
    process::PidFile,
    statistics,
};
use crate::{ids::TenantId, secret::Secret};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory in memory, removed at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("chatgate-db-{:x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn private(&self) -> PrivateSettings {
        let durability = Durability::ThrowAway;
        PrivateSettings { data_dir: self.0.clone(), bin_dir: None, durability, max_connections: 10 }
    }

    fn pid(&self) -> Pid {
        PidFile::read(&self.0.join("postgres/data")).unwrap().pid
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn pool_on(postgres: &PrivatePostgres) -> PgPool {
    connect(postgres.options(), 4).await.unwrap()
}

async fn notes(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from notes").fetch_one(pool).await
}

async fn write_note(pool: &PgPool) {
    sqlx::query("create table if not exists notes (at int)").execute(pool).await.unwrap();
    sqlx::query("insert into notes values (1)").execute(pool).await.unwrap();
}

/// Tries until it works.
async fn eventually<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn data_survive_a_stop_and_nobody_else_gets_in_meanwhile() {
    let scratch = Scratch::new();
    let settings = Settings { url: None, data_dir: scratch.0.clone(), bin_dir: None, max_connections: 4 };
    let database = open(&settings).await.unwrap();
    assert!(database.shown.starts_with("embedded PostgreSQL "), "{}", database.shown);
    assert!(database.is_private());
    write_note(&database.pool).await;
    let durable: String =
        sqlx::query_scalar("select current_setting('fsync') || current_setting('synchronous_commit')")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(durable, "onon");
    let is_superuser: bool =
        sqlx::query_scalar("select rolsuper or rolcreatedb from pg_roles where rolname = current_user")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert!(!is_superuser);

    let refused = open(&settings).await.unwrap_err();
    let expected = format!("another chatgate (pid {}) uses this directory", std::process::id());
    assert!(refused.to_string().starts_with(&expected), "{refused}");
    assert_eq!(notes(&database.pool).await.unwrap(), 1, "the refused one did no harm");

    let pid = scratch.pid();
    database.close().await;
    assert!(rustix::process::test_kill_process(pid).is_err(), "PostgreSQL is gone");

    let database = open(&settings).await.unwrap();
    assert_eq!(notes(&database.pool).await.unwrap(), 1);
    database.close().await;
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_what_was_committed() {
    let scratch = Scratch::new();
    // A throw-away one may forget its last commits.
    let settings = PrivateSettings { durability: Durability::Full, ..scratch.private() };
    let postgres = PrivatePostgres::start(settings).await.unwrap();
    let pool = pool_on(&postgres).await;
    write_note(&pool).await;
    let first = scratch.pid();
    kill_process(first, Signal::KILL).unwrap();
    eventually(async || if scratch_pid_is_new(&scratch, first) { Ok(()) } else { Err("the old one") }).await;
    assert_eq!(eventually(async || notes(&pool).await).await, 1);
    pool.close().await;
    postgres.stop().await;
}

#[tokio::test]
async fn whole_pages_are_compressed_the_fast_way_until_the_operator_says_otherwise() {
    async fn compression(pool: &PgPool) -> String {
        sqlx::query_scalar("select current_setting('wal_compression')").fetch_one(pool).await.unwrap()
    }
    let scratch = Scratch::new();
    let settings = PrivateSettings { durability: Durability::Full, ..scratch.private() };
    let postgres = PrivatePostgres::start(settings.clone()).await.unwrap();
    let pool = pool_on(&postgres).await;
    let has_lz4 = "select coalesce('lz4' = any (enumvals), false) from pg_settings where name = 'wal_compression'";
    let has_lz4: bool = sqlx::query_scalar(has_lz4).fetch_one(&pool).await.unwrap();
    assert_eq!(compression(&pool).await == "lz4", has_lz4);
    pool.close().await;
    let admin = connect(postgres.admin_options(), 1).await.unwrap();
    sqlx::query("alter system set wal_compression = off").execute(&admin).await.unwrap();
    admin.close().await;
    postgres.stop().await;
    let postgres = PrivatePostgres::start(settings).await.unwrap();
    let pool = pool_on(&postgres).await;
    assert_eq!(compression(&pool).await, "off");
    pool.close().await;
    postgres.stop().await;
}

fn scratch_pid_is_new(scratch: &Scratch, old: Pid) -> bool {
    PidFile::read(&scratch.0.join("postgres/data")).is_some_and(|it| it.pid != old && it.is_ready)
}

#[tokio::test]
async fn a_postgres_that_keeps_dying_is_given_up() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let failed = tokio::spawn(postgres.failed());
    fs::remove_file(scratch.0.join("postgres/data/global/pg_control")).unwrap();
    kill_process(scratch.pid(), Signal::KILL).unwrap();
    let reason = tokio::time::timeout(PATIENCE, failed).await.unwrap().unwrap();
    assert!(reason.contains("pg_control"), "{reason}");
    postgres.stop().await;
}

#[tokio::test]
async fn an_orphan_is_stopped_and_its_data_taken_over() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let pool = pool_on(&postgres).await;
    write_note(&pool).await;
    pool.close().await;
    postgres.stop().await;

    let orphan = start_orphan(&scratch);
    eventually(async || if scratch_pid_is_new(&scratch, Pid::INIT) { Ok(()) } else { Err("not ready") }).await;
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    assert_ne!(scratch.pid(), orphan);
    let pool = pool_on(&postgres).await;
    assert_eq!(notes(&pool).await.unwrap(), 1);
    pool.close().await;
    postgres.stop().await;
}

/// Starts a server as a killed chatgate leaves it: alive, with `postgres.lock` as its input, nobody waiting for it.
fn start_orphan(scratch: &Scratch) -> Pid {
    use std::os::unix::{fs::MetadataExt, process::CommandExt};
    let root = scratch.0.join("postgres");
    let lock = fs::File::open(root.join("postgres.lock")).unwrap();
    lock.try_lock().unwrap();
    let owner = fs::metadata(root.join("data")).unwrap();
    let mut command = Command::new(super::find::find(None, None).unwrap().bin.join("postgres"));
    command.arg("-D").arg(root.join("data")).args(["-c", "listen_addresses=", "-c"]);
    command.arg(format!("unix_socket_directories={}", root.join("run").display()));
    command.stdin(lock).stdout(Stdio::null()).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    std::thread::spawn(move || child.wait());
    pid
}

/// Where the stand-in keeps its data; without it, the stand-in is no test and does nothing.
const STAND_IN: &str = "CHATGATE_TEST_STAND_IN";

#[tokio::test]
async fn stand_in_for_chatgate() {
    let Some(data_dir) = std::env::var_os(STAND_IN) else { return };
    let settings = Settings { url: None, data_dir: data_dir.into(), bin_dir: None, max_connections: 4 };
    let database = open(&settings).await.unwrap();
    write_note(&database.pool).await;
    fs::write(settings.data_dir.join("written"), "").unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn when_chatgate_is_killed_postgres_stops_and_the_next_start_has_the_data() {
    let scratch = Scratch::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "db::tests::stand_in_for_chatgate", "--nocapture"]).env(STAND_IN, &scratch.0);
    let mut chatgate = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(async || fs::metadata(scratch.0.join("written"))).await;
    let orphan = scratch.pid();
    let settings = Settings { url: None, data_dir: scratch.0.clone(), bin_dir: None, max_connections: 4 };
    let refused = open(&settings).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("another chatgate (pid {}) uses this directory", chatgate.id())), "{refused}");

    chatgate.kill().unwrap();
    chatgate.wait().unwrap();
    if cfg!(target_os = "linux") {
        // By itself; elsewhere the next start does it.
        eventually(async || match PidFile::read(&scratch.0.join("postgres/data")) {
            Some(it) if it.pid == orphan => Err("still there"),
            _ => Ok(()),
        })
        .await;
    }
    let database = open(&settings).await.unwrap();
    assert_eq!(notes(&database.pool).await.unwrap(), 1);
    database.close().await;
}

#[tokio::test]
async fn files_of_a_dead_server_with_a_living_strangers_pid_do_no_harm() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    postgres.stop().await;
    let stranger = std::process::id();
    fs::write(scratch.0.join("postgres/data/postmaster.pid"), format!("{stranger}\n")).unwrap();
    fs::write(scratch.0.join("postgres/run/.s.PGSQL.5432.lock"), format!("{stranger}\n")).unwrap();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn a_deep_directory_gets_its_socket_elsewhere() {
    let scratch = Scratch::new();
    let mut settings = scratch.private();
    settings.data_dir = scratch.0.join("deep".repeat(20)).join("er");
    let postgres = PrivatePostgres::start(settings.clone()).await.unwrap();
    let sockets = postgres.options().get_socket().unwrap().clone();
    assert!(!sockets.starts_with(&settings.data_dir), "{}", sockets.display());
    pool_on(&postgres).await.close().await;
    postgres.stop().await;
    fs::remove_dir(&sockets).unwrap();

    // Somebody else was there first, and left the door open.
    symlink("/etc", &sockets).unwrap();
    let refused = PrivatePostgres::start(settings).await.unwrap_err();
    assert!(matches!(&refused, StartError::NotPrivate { path } if *path == sockets), "{refused}");
    fs::remove_file(&sockets).unwrap();
}

#[tokio::test]
async fn without_a_server_the_message_says_what_to_install() {
    let scratch = Scratch::new();
    let settings = Settings {
        url: None,
        data_dir: scratch.0.join("data"),
        bin_dir: Some("/nonexistent".into()),
        max_connections: 4,
    };
    let error = open(&settings).await.unwrap_err();
    assert!(matches!(error, OpenError::Private(StartError::NotFound(NotFound::Nothing { .. }))));
    assert!(error.to_string().contains("DATABASE_URL=postgres://user:password@host/db"), "{error}");
    assert!(!settings.data_dir.exists(), "nothing was made");
}

#[tokio::test]
async fn an_external_database_is_migrated_shown_without_its_password_and_left_running() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let run = scratch.0.join("postgres/run").display().to_string().replace('/', "%2F");
    let settings = Settings {
        url: Some(Secret::new(format!("postgres://chatgate:swordfish@{run}/chatgate"))),
        data_dir: scratch.0.join("unused"),
        bin_dir: None,
        max_connections: 4,
    };
    let database = open(&settings).await.unwrap();
    assert!(!database.is_private());
    assert!(database.shown.starts_with("external ") && !database.shown.contains("swordfish"), "{}", database.shown);
    let pending = pending_migrations(&database.pool).await.unwrap();
    let (first, second) = tokio::join!(migrate(&database.pool), migrate(&database.pool));
    first.and(second).unwrap();
    assert!(pending.len() >= pending_migrations(&database.pool).await.unwrap().len());
    assert_eq!(pending_migrations(&database.pool).await.unwrap(), Vec::<String>::new());
    database.close().await;
    PgConnection::connect_with(&postgres.admin_options()).await.unwrap().close().await.unwrap();
    postgres.stop().await;

    let error = open(&settings).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_bell_is_heard_by_the_other_process_and_everybody_looks_after_a_gap() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let cancel = CancellationToken::new();
    let here = Bell::new(postgres.options(), cancel.clone());
    let there = Bell::new(postgres.options(), cancel.clone());
    let (mut intake, mut events) = (there.waiter(Work::Intake), there.events());
    // The first ring is its own: it begins to listen.
    assert_eq!(events.recv().await.unwrap(), Bell::EVERY_TENANT);
    intake.rung().await;
    let _ = there.take_dirty_queues();

    let tenant = TenantId(Uuid::from_u128(7));
    for topic in [Topic::Intake, Topic::Queues(tenant), Topic::Events(tenant)] {
        here.ring(topic);
        here.ring(topic);
    }
    tokio::time::timeout(PATIENCE, intake.rung()).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap(), tenant);
    eventually(async || if there.take_dirty_queues().contains(&tenant) { Ok(()) } else { Err("not heard") }).await;

    let mut admin = PgConnection::connect_with(&postgres.admin_options()).await.unwrap();
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'chatgate-bell'";
    sqlx::query(cut).execute(&mut admin).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap(), Bell::EVERY_TENANT);
    here.ring(Topic::Events(tenant));
    assert_eq!(tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap(), tenant);
    cancel.cancel();
    postgres.stop().await;
}

#[tokio::test]
async fn a_table_that_has_grown_is_analyzed_once() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let pool = connect(postgres.options(), 1).await.unwrap();
    let grow = async |to: i32| {
        let insert = "insert into \"a Table\" select generate_series(1, $1)";
        sqlx::query(insert).bind(to).execute(&pool).await.unwrap();
        // Counters are told of at most once a second, unless asked for.
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&pool).await.unwrap();
        statistics::refresh(&pool).await.unwrap()
    };
    sqlx::raw_sql("create table \"a Table\" (n integer)").execute(&pool).await.unwrap();
    assert_eq!(grow(99).await, 0, "too small to matter");
    assert_eq!(grow(1).await, 1);
    assert_eq!(grow(699).await, 0, "not eight times as many");
    assert_eq!(grow(1).await, 1);
    assert_eq!(statistics::refresh(&pool).await.unwrap(), 0);
    // Rows of such a table live for milliseconds.
    sqlx::raw_sql("alter table \"a Table\" set (autovacuum_vacuum_threshold = 500)").execute(&pool).await.unwrap();
    assert_eq!(grow(100_000).await, 0);
    sqlx::raw_sql("alter table \"a Table\" reset (autovacuum_vacuum_threshold)").execute(&pool).await.unwrap();
    assert_eq!(statistics::refresh(&pool).await.unwrap(), 1);
    pool.close().await;
    postgres.stop().await;
}

#[tokio::test]
async fn a_table_of_short_lived_rows_is_swept_when_most_are_dead() {
    let scratch = Scratch::new();
    let postgres = PrivatePostgres::start(scratch.private()).await.unwrap();
    let pool = connect(postgres.options(), 1).await.unwrap();
    let dead = async |table: &str| -> i64 {
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&pool).await.unwrap();
        let dead = "select pg_stat_get_dead_tuples($1::regclass)";
        sqlx::query_scalar(dead).bind(table).fetch_one(&pool).await.unwrap()
    };
    let tables =
        "create table \"a Line\" (n integer) with (autovacuum_vacuum_threshold = 500); create table others (n integer);
        insert into \"a Line\" select generate_series(1, 20000); insert into others select generate_series(1, 20000);
        delete from others; delete from \"a Line\" where n < 10000";
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    assert_eq!(dead("\"a Line\"").await, 9_999);
    assert_eq!(statistics::sweep(&pool).await.unwrap(), 0);
    sqlx::raw_sql("delete from \"a Line\" where n = 10000").execute(&pool).await.unwrap();
    assert_eq!(dead("\"a Line\"").await, 10_000);
    assert_eq!(statistics::sweep(&pool).await.unwrap(), 1);
    assert_eq!((dead("\"a Line\"").await, dead("others").await), (0, 20_000));
    assert_eq!(statistics::sweep(&pool).await.unwrap(), 0);
    pool.close().await;
    postgres.stop().await;
}
