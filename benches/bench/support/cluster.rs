//! A PostgreSQL of the bench's own, on disk and with full durability, tuned as `chatgate serve` tunes its private one.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, ensure};
use chatgate::db::{Durability, PrivatePostgres, PrivateSettings};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, postgres::PgConnectOptions};

/// Connections that gateways and clients may open together.
const MAX_CONNECTIONS: u32 = 180;

/// A running server; its files are removed with it.
pub struct Cluster {
    postgres: PrivatePostgres,
    home: PathBuf,
}

impl Cluster {
    /// Makes and starts one in the directory for temporary files.
    pub async fn start() -> anyhow::Result<Self> {
        let home = std::env::temp_dir().join(format!("chatgate-bench-{}", std::process::id()));
        std::fs::create_dir_all(&home)?;
        let settings = PrivateSettings {
            data_dir: home.clone(),
            bin_dir: None,
            durability: Durability::Full,
            max_connections: MAX_CONNECTIONS,
        };
        let postgres = PrivatePostgres::start(settings).await?;
        let cluster = Self { postgres, home };
        let mut admin = cluster.admin().await?;
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let show = format!("show {setting}");
            let value: String = sqlx::query_scalar(sqlx::AssertSqlSafe(show)).fetch_one(&mut admin).await?;
            ensure!(value == "on", "{setting} is {value}: nothing measured so would be durable");
        }
        Ok(cluster)
    }

    /// A migrated database of this name.
    pub async fn database(&self, name: &str) -> anyhow::Result<PgConnectOptions> {
        let make = format!("create database {name} owner chatgate");
        self.admin().await?.execute(sqlx::AssertSqlSafe(make)).await?;
        let options = self.postgres.options().database(name);
        let pool = chatgate::db::connect(options.clone(), 2).await?;
        chatgate::db::migrate(&pool).await?;
        pool.close().await;
        Ok(options)
    }

    /// A superuser's connection.
    pub async fn admin(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.postgres.admin_options()).await?)
    }

    /// What the server says of itself.
    pub async fn version(&self) -> anyhow::Result<String> {
        let settings = sqlx::query_scalar(
            "select 'PostgreSQL ' || current_setting('server_version') || ', shared_buffers ' || current_setting('shared_buffers')
                || ', max_wal_size ' || current_setting('max_wal_size') || ', fsync and synchronous_commit on'",
        );
        Ok(settings.fetch_one(&mut self.admin().await?).await?)
    }

    /// The process id of the server's first process.
    pub async fn pid(&self) -> anyhow::Result<u32> {
        let show = sqlx::query_scalar("show data_directory");
        let directory: String = show.fetch_one(&mut self.admin().await?).await?;
        let file = std::fs::read_to_string(PathBuf::from(directory).join("postmaster.pid"))?;
        file.lines().next().and_then(|it| it.parse().ok()).context("postmaster.pid begins with a number")
    }

    /// Settles the disk, so that no measurement pays for the one before.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        self.admin().await?.execute("checkpoint").await?;
        Ok(())
    }

    /// Runs `pgbench` against a database and returns what it prints.
    pub async fn pgbench(&self, database: &PgConnectOptions, arguments: &[&str]) -> anyhow::Result<String> {
        let socket = database.get_socket().context("the cluster listens on a socket")?;
        let output = tokio::process::Command::new(pgbench_program())
            .args(["-n", "-h"])
            .arg(socket)
            .args(["-p", "5432", "-U", database.get_username()])
            .args(arguments)
            .arg(database.get_database().unwrap_or("chatgate"))
            .stdin(Stdio::null())
            .output()
            .await
            .context("pgbench cannot be run; it comes with PostgreSQL (Debian: postgresql)")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// Stops the server and removes its files.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await;
        std::fs::remove_dir_all(&self.home).context("the bench's directory cannot be removed")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.home));
    }
}

/// From the path, or beside a PostgreSQL that Debian keeps off the path.
fn pgbench_program() -> PathBuf {
    let on_path =
        std::env::var_os("PATH").is_some_and(|it| std::env::split_paths(&it).any(|it| it.join("pgbench").is_file()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let beside = versions.map(|it| it.path().join("bin/pgbench")).filter(|it| it.is_file()).max();
    beside.filter(|_| !on_path).unwrap_or_else(|| "pgbench".into())
}

/// A pool as wide as asked for.
pub async fn pool(options: &PgConnectOptions, connections: u32) -> anyhow::Result<PgPool> {
    Ok(chatgate::db::connect(options.clone(), connections).await?)
}

/// As other processes are told.
pub fn url(options: &PgConnectOptions) -> String {
    options.to_url_lossy().to_string()
}
