//! Contacts, rooms and waiting replies, made in the database: what the doors would have stored.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Executor, PgPool};

/// Text of a reply beside its number: 100 characters, as people write.
pub const WORDS: &str =
    "thank you for waiting, your order left our house this morning and will be with you on Friday at noon";

/// Makes `rooms` rooms for each Page and `first` for the first, active and with an open window.
pub async fn rooms(db: &PgPool, rooms: usize, first: usize, now: DateTime<Utc>) -> anyhow::Result<()> {
    let at = now.to_rfc3339();
    let contacts = format!(
        "insert into contacts (tenant_id, id, widget_id, sender_id, name, profile_at, last_inbound_at, created_at, updated_at)
        select w.tenant_id, gen_random_uuid(), w.id, '7' || lpad(n::text, 15, '0'), 'Anna', '{at}', '{at}', '{at}', '{at}'
        from (select *, id = (select id from widgets order by id limit 1) as is_first from widgets) w,
            generate_series(1, case when w.is_first then {first} else {rooms} end) n"
    );
    db.execute(AssertSqlSafe(contacts)).await?;
    let rooms = format!(
        "insert into rooms (tenant_id, id, widget_id, contact_id, status, agent_id, accepted_at, opened_at, window_look_at)
        select c.tenant_id, gen_random_uuid(), c.widget_id, c.id, 'active', a.user_id, '{at}', '{at}', '{at}'::timestamptz + interval '1 day'
        from contacts c
        cross join lateral (select user_id from agents a where a.tenant_id = c.tenant_id limit 1) as a"
    );
    db.execute(AssertSqlSafe(rooms)).await?;
    db.execute("vacuum analyze").await?;
    Ok(())
}

/// Stores `count` replies over the first `per_page` rooms of each of the first `pages` Pages, waiting, oldest first in every room; due
/// from `due_at` on.
pub async fn replies(
    db: &PgPool,
    count: usize,
    (pages, per_page): (usize, usize),
    now: DateTime<Utc>,
    due_at: DateTime<Utc>,
) -> anyhow::Result<()> {
    let (at, due) = (now.to_rfc3339(), due_at.to_rfc3339());
    let mut tx = chatgate::db::begin(db).await?;
    let chosen = format!(
        "create temporary table chosen on commit drop as
        select *, row_number() over (order by place, md5(id::text)) as nth
        from (
            select r.*, row_number() over (partition by r.widget_id order by r.id) as place
            from rooms r
            where r.widget_id in (select id from widgets order by id limit {pages})) r
        where place <= {per_page}"
    );
    tx.execute(AssertSqlSafe(chosen)).await?;
    let rooms: i64 = sqlx::query_scalar("select count(*) from chosen").fetch_one(&mut *tx).await?;
    let messages = format!(
        "create temporary table fresh on commit drop as
        select r.tenant_id, gen_random_uuid() as id, r.id as room_id, r.widget_id, r.last_seq + (n - 1) / {rooms} + 1 as seq, n
        from generate_series(1, {count}) n
        join chosen r on r.nth = (n - 1) % {rooms} + 1"
    );
    tx.execute(AssertSqlSafe(messages)).await?;
    let messages = format!(
        "insert into messages (tenant_id, id, room_id, widget_id, seq, direction, author_kind, author_name, content, status, created_at)
        select tenant_id, id, room_id, widget_id, seq, 'outbound', 'bot', 'Bench',
            jsonb_build_object('kind', 'text', 'text', 'reply ' || n || ' {WORDS}'), 'queued', '{at}'
        from fresh"
    );
    tx.execute(AssertSqlSafe(messages)).await?;
    tx.execute("update rooms r set last_seq = f.seq from (select room_id, max(seq) as seq from fresh group by 1) f where r.id = f.room_id").await?;
    let outbox = format!(
        "insert into outbox (tenant_id, room_id, seq, message_id, widget_id, state, due_at)
        select tenant_id, room_id, seq, id, widget_id, 'due', '{due}'::timestamptz + n * interval '1 microsecond'
        from fresh
        order by n"
    );
    tx.execute(AssertSqlSafe(outbox)).await?;
    tx.commit().await?;
    db.execute("analyze outbox").await?;
    db.execute("checkpoint").await.ok();
    Ok(())
}
