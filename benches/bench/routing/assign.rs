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

use sqlx::PgPool;

use super::fill;
use crate::support::cluster::{self, Cluster};

/// How often the same contacts come again, each with a new room.
const TIMES: i32 = 3;

/// The time in which all rooms find an agent, 2,000 seats at a time, right after a checkpoint and then some more times; closing rooms to
/// free the seats is not counted.
///
/// After a checkpoint, the first change of each page writes the whole page to the log (`full_page_writes`). Beside many closed rooms the
/// contacts' index has a page for nearly each contact, so that the first time is one of them for each room; the next times are not.
pub async fn time(cluster: &Cluster, name: &str, rooms: i32, closed: i32) -> anyhow::Result<Vec<Duration>> {
    let options = cluster.database(name).await?;
    fill::fill(&options, rooms, closed).await?;
    cluster.checkpoint().await?;
    let (db, seal) = (cluster::pool(&options, 4).await?, SealKey::parse(&SealKey::generate())?);
    let settings = Settings::load(None, &[])?;
    let gateway = Gateway::assemble(settings, db.clone(), Bell::local(), seal, Clock::System, Crew::new()).await?;
    let assigner = Assigner::new(gateway.app.dispatch.clone(), Clock::System);
    let mut times = Vec::new();
    for nth in 1..=TIMES {
        times.push(assign_all(&assigner, &db).await?);
        if nth < TIMES {
            fill::write_again(&options, rooms, nth).await?;
        }
    }
    db.close().await;
    Ok(times)
}

async fn assign_all(assigner: &Assigner, db: &PgPool) -> anyhow::Result<Duration> {
    let mut took = Duration::ZERO;
    let mut left = i64::MAX;
    while left > 0 {
        let began = Instant::now();
        while assigner.step().await? == Step::Worked {}
        took += began.elapsed();
        let now = fill::count_waiting(db).await?;
        ensure!(now < left, "{now} rooms stay where they are");
        left = now;
        fill::free_seats(db).await?;
    }
    Ok(took)
}
