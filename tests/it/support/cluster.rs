//! One throw-away PostgreSQL for the whole run; one database for each test, copied from a template.

use std::{
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use chatgate::db::{Durability, PrivatePostgres, PrivateSettings};
use sqlx::{ConnectOptions, Connection, Executor, PgPool, postgres::PgConnectOptions};

struct Cluster {
    app: PgConnectOptions,
    admin: PgConnectOptions,
}

fn root() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Started by the first test that needs it, on a thread that outlives them all; PostgreSQL stops with the process.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    sweep();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let data_dir = root().join(format!("chatgate-test-{}", std::process::id()));
            std::fs::create_dir_all(&data_dir).unwrap();
            let settings =
                PrivateSettings { data_dir, bin_dir: None, durability: Durability::ThrowAway, max_connections: 300 };
            let postgres = PrivatePostgres::start(settings).await.expect("the tests' PostgreSQL starts");
            let cluster = Cluster { app: postgres.options(), admin: postgres.admin_options() };
            let pool = PgPool::connect_with(cluster.app.clone()).await.unwrap();
            pool.execute("create database template_chatgate").await.unwrap();
            pool.close().await;
            let template = PgPool::connect_with(cluster.app.clone().database("template_chatgate")).await.unwrap();
            chatgate::db::migrate(&template).await.expect("the migrations apply");
            template.close().await;
            sender.send(cluster).unwrap();
            std::future::pending::<()>().await;
            drop(postgres);
        });
    });
    receiver.recv().expect("the tests' PostgreSQL starts")
});

/// Directories of runs that were killed.
fn sweep() {
    for entry in std::fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("chatgate-test-").and_then(|it| it.parse::<u32>().ok());
        if pid
            .is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists() && PathBuf::from("/proc/self").exists())
        {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A test's own database.
pub struct TestDatabase {
    pub name: String,
    pub options: PgConnectOptions,
}

impl TestDatabase {
    pub async fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let cluster = tokio::task::spawn_blocking(|| &*CLUSTER).await.unwrap();
        let mut admin = cluster.app.clone().connect().await.unwrap();
        // Two copies of one template at once disturb each other.
        admin.execute("select pg_advisory_lock(7)").await.unwrap();
        let create = format!("create database {name} template template_chatgate");
        admin.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
        admin.close().await.unwrap();
        Self { options: cluster.app.clone().database(&name), name }
    }

    /// A directory for whatever else the test's gateway keeps; goes with the run if the test does not remove it.
    pub fn directory(&self) -> PathBuf {
        root().join(format!("chatgate-test-{}", std::process::id())).join(&self.name)
    }

    pub async fn pool(&self) -> PgPool {
        chatgate::db::connect(self.options.clone(), 10).await.unwrap()
    }

    pub async fn drop(self) {
        let mut admin = CLUSTER.admin.clone().connect().await.unwrap();
        let drop = format!("drop database if exists {} with (force)", self.name);
        admin.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
        admin.close().await.unwrap();
    }
}
