//! Our way: the worker of one process takes steps until nothing is left to assign.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chatgate::{
    app::Gateway,
    clock::Clock,
    config::Settings,
    crew::{Crew, Step, Worker as _},
    db::bell::Bell,
    queues::assign::Assigner,
    seal::SealKey,
};

use super::fill;
use crate::support::cluster::{self, Cluster};

/// The time in which all rooms find an agent, 2,000 seats at a time; closing rooms to free the seats is not counted.
pub async fn time(cluster: &Cluster, name: &str, rooms: i32, closed: i32) -> anyhow::Result<Duration> {
    let options = cluster.database(name).await?;
    fill::fill(&options, rooms, closed).await?;
    cluster.checkpoint().await?;
    let (db, seal) = (cluster::pool(&options, 4).await?, SealKey::parse(&SealKey::generate())?);
    let settings = Settings::load(None, &[])?;
    let gateway = Gateway::assemble(settings, db.clone(), Bell::local(), seal, Clock::System, Crew::new()).await?;
    let assigner = Assigner::new(gateway.app.dispatch.clone(), Clock::System);
    let mut took = Duration::ZERO;
    let mut left = i64::MAX;
    while left > 0 {
        let began = Instant::now();
        while assigner.step().await? == Step::Worked {}
        took += began.elapsed();
        let now = fill::count_waiting(&db).await?;
        ensure!(now < left, "{now} rooms stay where they are");
        left = now;
        fill::free_seats(&db).await?;
    }
    db.close().await;
    Ok(took)
}
