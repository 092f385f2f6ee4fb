//! What PostgreSQL does with one transaction per message, on our own tables with all their keys: the two baselines.

use anyhow::Context;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};

use crate::support::{cluster::Cluster, cpu::Used};

const TABLES: &str = include_str!("pgbench.sql");
const BY_STATEMENT: &str = include_str!("statements.pgbench");
const BY_FUNCTION: &str = "\\set n random(0, 4999)\nselect receive(:n);\n";

/// What was measured.
pub struct Baseline {
    /// Statement by statement, as a straightforward service would.
    pub statements: Measured,
    /// The same as one call of a function.
    pub function: Measured,
}

/// One run of pgbench.
pub struct Measured {
    /// Transactions per second.
    pub rate: f64,
    /// CPU time of PostgreSQL for each, in µs.
    pub cpu_us: f64,
}

/// Runs both with 32 clients for so many seconds each; every contact and room is there before.
pub async fn run(cluster: &Cluster, postmaster: u32, seconds: u64) -> anyhow::Result<Baseline> {
    let database = cluster.database("pgbench").await?;
    let mut tables = PgConnection::connect_with(&database).await?;
    tables.execute(TABLES).await?;
    tables.execute("vacuum analyze").await?;
    let statements = measure(cluster, postmaster, &database, BY_STATEMENT, seconds).await?;
    let function = measure(cluster, postmaster, &database, BY_FUNCTION, seconds).await?;
    Ok(Baseline { statements, function })
}

async fn measure(
    cluster: &Cluster,
    postmaster: u32,
    database: &PgConnectOptions,
    script: &str,
    seconds: u64,
) -> anyhow::Result<Measured> {
    let path = std::env::temp_dir().join(format!("chatgate-bench-{}.pgbench", std::process::id()));
    std::fs::write(&path, script)?;
    cluster.checkpoint().await?;
    let (file, time) = (path.display().to_string(), seconds.to_string());
    let before = Used::now(0, postmaster);
    let said = cluster.pgbench(database, &["-M", "prepared", "-c", "32", "-j", "2", "-T", &time, "-f", &file]).await;
    drop(std::fs::remove_file(&path));
    let said = said?;
    let line =
        said.lines().find(|it| it.starts_with("tps = ")).with_context(|| format!("pgbench says no tps: {said}"))?;
    let rate = line["tps = ".len()..].split(' ').next().and_then(|it| it.parse().ok()).context("tps is a number")?;
    let used = (Used::now(0, postmaster) - before).postgres;
    Ok(Measured { rate, cpu_us: used.as_secs_f64() * 1e6 / (rate * seconds as f64) })
}
