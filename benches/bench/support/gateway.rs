//! `chatgate serve` as a process of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use chatgate::{clock::Clock, seal::SealKey, simulator::Simulator};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{client::Client, cluster};

const OPERATOR: &str = "cgo_operator-token-of-the-bench";
/// A start with migrations done takes far less.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running gateway with a pretend Facebook behind it.
pub struct Gateway {
    child: Child,
    log: PathBuf,
    stop: CancellationToken,
    /// `http://…`
    pub base: String,
    /// The Facebook it talks to.
    pub facebook: Simulator,
}

impl Gateway {
    /// Starts it on a database; `settings` are environment variables besides the usual ones.
    pub async fn start(database: &PgConnectOptions, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let facebook = Simulator::new(Clock::System);
        let pretend = TcpListener::bind("127.0.0.1:0").await?;
        let graph = format!("http://{}", pretend.local_addr()?);
        let stop = CancellationToken::new();
        let (serving, ended) = (facebook.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(pretend, ended).await });

        let address = free_address()?;
        let log = std::env::temp_dir().join(format!("chatgate-bench-{}-{}.log", std::process::id(), address.port()));
        let child = Command::new(env!("CARGO_BIN_EXE_chatgate"))
            .arg("serve")
            .env("CHATGATE__DATABASE__URL", cluster::url(database))
            .env("CHATGATE__HTTP__LISTEN", address.to_string())
            .env("CHATGATE__GRAPH__BASE_URL", graph)
            .env("CHATGATE__METRICS__LISTEN", "")
            .env("CHATGATE__OPERATOR_TOKEN", OPERATOR)
            .env("CHATGATE__SEAL__KEY", SealKey::generate())
            .env("CHATGATE__LOG__FILTER", "warn")
            .env_remove("DATABASE_URL")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("the gateway cannot be started")?;
        let mut gateway = Self { child, log, stop, base: format!("http://{address}"), facebook };
        gateway.wait_ready().await?;
        Ok(gateway)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The operator.
    pub fn operator(&self) -> anyhow::Result<Client> {
        Client::new(&self.base, OPERATOR)
    }

    /// What it has logged: warnings and worse.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + PATIENCE;
        while !http.get(format!("{}/readyz", self.base)).send().await.is_ok_and(|it| it.status() == 200) {
            if self.child.try_wait()?.is_some() {
                bail!("the gateway ended: {}", self.said());
            }
            ensure!(Instant::now() < deadline, "the gateway is not ready: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}

fn free_address() -> std::io::Result<std::net::SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
