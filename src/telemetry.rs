//! Logs and metrics. Never message texts, names, tokens or bodies.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging to stderr.
///
/// # Errors
/// If the filter cannot be read; does nothing if logging was started before.
pub fn start_logs(filter: &str, is_json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("bad settings: log.filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if is_json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_target(false)).try_init()
    };
    drop(started);
    Ok(())
}

/// Starts collecting metrics; the handle renders them. Once per process.
///
/// # Errors
/// If metrics are collected already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| anyhow::anyhow!("metrics are collected already"))?;
    Ok(handle)
}

/// The metrics' own listener.
///
/// # Errors
/// If the address cannot be used.
pub async fn metrics_listener(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    use anyhow::Context;
    tokio::net::TcpListener::bind(address).await.with_context(|| format!("metrics.listen: cannot listen on {address}"))
}

/// Where metrics are served unless set otherwise; the same as in `config/chatgate.toml`.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9464";
