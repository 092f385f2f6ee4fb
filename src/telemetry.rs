//! Logs and metrics. Never message texts, names, tokens or bodies.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
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

/// Upper ends of the histograms of times: from a commit on a good disk to the backlog after an outage.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Upper ends of the histograms of batch sizes.
const ITEMS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// Starts collecting metrics; the handle renders them. Once per process.
///
/// # Errors
/// If metrics are collected already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    // Histograms, unlike summaries, can be added up over processes.
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), &ITEMS)?
        .build_recorder();
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
