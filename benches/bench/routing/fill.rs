//! A tenant with 20 queues, 500 ready agents of 4 seats, rooms that wait, and rooms that are over; by SQL.

use chatgate::ids::{QueueId, TenantId};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// The tenant; all ids are made of small numbers.
pub const TENANT: TenantId = TenantId(Uuid::from_u128(1));
/// How many queues.
pub const QUEUES: u128 = 20;

/// The nth queue.
pub fn queue(nth: u128) -> QueueId {
    QueueId(Uuid::from_u128(0x2_0000_0000 + nth))
}

const CENTRE: &str = "
    create function nth(kind int, n int) returns uuid language sql immutable
        return (lpad(to_hex(kind), 24, '0') || lpad(to_hex(n), 8, '0'))::uuid;
    insert into tenants (id, slug, name, created_at, updated_at) values (nth(0, 1), 'bench', 'Bench', now(), now());
    insert into widgets (tenant_id, id, channel, name, display_name, color, tags_offered, tags_required, texts, created_at, updated_at)
        values (nth(0, 1), nth(1, 0), 'messenger', 'Page', 'Page', '#000000', '{}', false, '{}', now(), now());
    insert into queues (tenant_id, id, name, strategy, accept, offer_timeout_s, offer_timeout_action, wrap_up_s, priority, created_at, updated_at)
        select nth(0, 1), nth(2, n), 'Queue ' || n, (array['longest_idle', 'least_busy', 'round_robin'])[1 + n % 3], 'manual', 3600, 'requeue', 0,
            4 + n % 3, now(), now()
        from generate_series(0, 19) n;
    insert into users (tenant_id, id, email, name, password_hash, roles, created_at, updated_at)
        select nth(0, 1), nth(3, n), n::text, 'Agent ' || n, '', '{agent}', now(), now() from generate_series(0, 499) n;
    insert into agents (tenant_id, user_id, max_chats, status, status_since, idle_since)
        select nth(0, 1), nth(3, n), 4, 'ready', now(), now() - n * interval '1 second' from generate_series(0, 499) n;
    insert into queue_members (tenant_id, queue_id, user_id, priority)
        select nth(0, 1), nth(2, (n * k + k) % 20), nth(3, n), k from generate_series(0, 499) n, generate_series(1, 2) k
        on conflict do nothing;";
const WAITING: &str = "
    insert into contacts (tenant_id, id, widget_id, sender_id, name, profile_at, last_inbound_at, created_at, updated_at)
        select nth(0, 1), nth(4, n), nth(1, 0), n::text, 'Anna Example', now(), now(), now(), now() from generate_series(1, $1) n";
const ROOMS: &str = "
    insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, place_at, queued_at, opened_at, last_seq, unread)
        select nth(0, 1), nth(10 + $2, n), nth(1, 0), nth(4, n), 'waiting', nth(2, n % 20), now() + n * interval '1 ms', now(), now(), 1, 1
        from generate_series(1, $1) n";
const CLOSED: &str = "
    insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, agent_id, place_at, queued_at, accepted_at, opened_at, closed_at,
        close_reason, last_seq)
        select nth(0, 1), nth(6, n), nth(1, 0), nth(4, 1 + n % $2), 'closed', nth(2, n % 20), nth(3, n % 500), now(), now(), now(), now(), now(),
            'agent', 9
        from generate_series(1, $1) n";

/// Fills a migrated database.
pub async fn fill(options: &PgConnectOptions, rooms: i32, closed: i32) -> anyhow::Result<()> {
    // A statement may take minutes here; the gateway's connections allow seconds.
    let mut db = PgConnection::connect_with(options).await?;
    sqlx::raw_sql(CENTRE).execute(&mut db).await?;
    sqlx::query(WAITING).bind(rooms).execute(&mut db).await?;
    sqlx::query(CLOSED).bind(closed).bind(rooms).execute(&mut db).await?;
    db.close().await?;
    write_again(options, rooms, 0).await
}

/// So many contacts write, for the nth time: their rooms wait.
pub async fn write_again(options: &PgConnectOptions, rooms: i32, nth: i32) -> anyhow::Result<()> {
    let mut db = PgConnection::connect_with(options).await?;
    sqlx::query(ROOMS).bind(rooms).bind(nth).execute(&mut db).await?;
    sqlx::raw_sql("vacuum analyze").execute(&mut db).await?;
    Ok(db.close().await?)
}

/// Rooms that still wait.
pub async fn count_waiting(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from rooms where status = 'waiting'").fetch_one(db).await
}

/// Everybody is done with everything at once: all seats are free.
pub async fn free_seats(db: &PgPool) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "update rooms
        set status = 'closed', closed_at = now(), close_reason = 'agent', offer_expires_at = null
        where status in ('offered', 'active')",
    )
    .execute(db)
    .await
    .map(drop)
}
