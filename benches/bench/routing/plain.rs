//! What one would write first: lock the oldest room of a queue, find it an agent with a free seat, write it down and tell the log; one
//! room in a transaction, as many loops at once as one likes, thanks to `skip locked`. Sees to seats and order within a queue as we do.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chatgate::{
    clock::Clock,
    ids::QueueId,
    rooms::{
        events::{self, Kind, NewEvent},
        store::list_views,
    },
};
use futures::future::try_join_all;
use sqlx::PgPool;
use uuid::Uuid;

use super::fill::{self, QUEUES, TENANT};
use crate::support::cluster::{self, Cluster};

/// The same as `assign::time` with so many loops.
pub async fn time(cluster: &Cluster, name: &str, rooms: i32, loops: u32) -> anyhow::Result<Duration> {
    let options = cluster.database(name).await?;
    fill::fill(&options, rooms, 0).await?;
    cluster.checkpoint().await?;
    let db = cluster::pool(&options, loops + 2).await?;
    let mut took = Duration::ZERO;
    let mut left = i64::MAX;
    while left > 0 {
        let began = Instant::now();
        try_join_all((0..loops).map(|it| claim_all(&db, u128::from(it)))).await?;
        took += began.elapsed();
        let now = fill::count_waiting(&db).await?;
        ensure!(now < left, "{now} rooms stay where they are");
        left = now;
        fill::free_seats(&db).await?;
    }
    db.close().await;
    Ok(took)
}

async fn claim_all(db: &PgPool, first: u128) -> anyhow::Result<()> {
    for nth in 0..QUEUES {
        // Each loop begins with another queue.
        while claim_one(db, fill::queue((nth + first * 5) % QUEUES)).await? {}
    }
    Ok(())
}

/// False if the queue has no room, or none of its agents a free seat.
async fn claim_one(db: &PgPool, queue: QueueId) -> anyhow::Result<bool> {
    let now = Clock::System.now();
    let mut tx = chatgate::db::begin(db).await?;
    let room: Option<Uuid> = sqlx::query_scalar(
        "select id
        from rooms
        where tenant_id = $1 and queue_id = $2 and status = 'waiting'
        order by place_at, id
        limit 1
        for update skip locked",
    )
    .bind(TENANT)
    .bind(queue)
    .fetch_optional(&mut *tx)
    .await?;
    let agent: Option<Uuid> = sqlx::query_scalar(
        "select a.user_id
        from queue_members m
        join agents a on a.tenant_id = m.tenant_id and a.user_id = m.user_id
        where m.tenant_id = $1 and m.queue_id = $2 and a.status = 'ready'
          and (select count(*) from rooms r
               where r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.status in ('offered', 'active')) < a.max_chats
        order by m.priority, a.idle_since
        limit 1
        for update of a skip locked",
    )
    .bind(TENANT)
    .bind(queue)
    .fetch_optional(&mut *tx)
    .await?;
    let (Some(room), Some(agent)) = (room, agent) else { return Ok(false) };
    sqlx::query(
        "update rooms
        set status = 'offered', agent_id = $3, offer_expires_at = $4
        where tenant_id = $1 and id = $2",
    )
    .bind(TENANT)
    .bind(room)
    .bind(agent)
    .bind(now + chrono::TimeDelta::hours(1))
    .execute(&mut *tx)
    .await?;
    sqlx::query("update agents set idle_since = $3, given_at = $3 where tenant_id = $1 and user_id = $2")
        .bind(TENANT)
        .bind(agent)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    let views = list_views(&mut tx, &[TENANT.0], &[room], now).await?;
    let log: Vec<_> = views.iter().map(|(tenant, view)| NewEvent::room(*tenant, Kind::RoomOffered, view)).collect();
    events::append(&mut tx, now, &log).await?;
    tx.commit().await?;
    Ok(true)
}
