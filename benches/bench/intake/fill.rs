//! A history: messages that were stored before, by SQL, with all that hangs on them.

use std::time::Instant;

use sqlx::{Connection, PgPool};

/// Messages in one transaction.
const PART: i64 = 500_000;

/// Stores so many messages in rooms that are closed, as the gateway would have left them: rooms, messages, ledger and events.
pub async fn fill(db: &PgPool, messages: i64) -> anyhow::Result<()> {
    let began = Instant::now();
    // A statement may take minutes here; the pool's connections allow seconds.
    let mut alone =
        sqlx::PgConnection::connect_with(&db.connect_options().as_ref().clone().options([("statement_timeout", "0")]))
            .await?;
    sqlx::query(CONTACTS).execute(&mut alone).await?;
    for from in (0..messages).step_by(usize::try_from(PART)?) {
        for sql in [ROOMS, MESSAGES, LEDGER, EVENTS] {
            sqlx::query(sql).bind(from).bind((from + PART).min(messages) - 1).execute(&mut alone).await?;
        }
    }
    sqlx::raw_sql("vacuum analyze contacts, rooms, messages, ledger, events").execute(&mut alone).await?;
    eprintln!("stored a history of {messages} messages in {} s", began.elapsed().as_secs());
    Ok(())
}

/// The contacts in any order, numbered; with the beginning of an id of now.
const CONTACTS: &str = "
    create temporary table numbered as
    select row_number() over () - 1 as nth, tenant_id, id, widget_id, lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') as today
    from contacts";
/// A closed room for every 20 messages, spread over all contacts.
const ROOMS: &str = "
    insert into rooms (tenant_id, id, widget_id, contact_id, status, last_seq, close_reason, opened_at, closed_at)
    select c.tenant_id, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, c.widget_id, c.id, 'closed', 20, 'agent', now(), now()
    from generate_series($1::bigint / 20, $2::bigint / 20) n
    join numbered c on c.nth = n % (select count(*) from numbered)";
const MESSAGES: &str = "
    insert into messages (tenant_id, id, room_id, widget_id, seq, direction, author_kind, author_name, content, status, external_id,
        external_at, created_at)
    select c.tenant_id, (today || right(md5(n::text), 20))::uuid,
        ('00000000-0000-7000-8000-' || lpad(to_hex(n / 20), 12, '0'))::uuid, c.widget_id, 1 + n % 20, 'inbound', 'contact', 'Anna Example',
        '{\"kind\": \"text\", \"text\": \"Is my order number 12345 on its way? Teşekkürler\"}', 'received',
        'm_' || md5(n::text) || left(md5((-n)::text), 16) || '_h-' || n, now(), now()
    from generate_series($1::bigint, $2::bigint) n
    join numbered c on c.nth = (n / 20) % (select count(*) from numbered)";
/// Of today, where new items go, too; with the ids of their messages.
const LEDGER: &str = "
    insert into ledger (tenant_id, id, shard, meta_app_id, widget_id, lane, page_id, sender_id, kind, raw, received_at, written_at)
    select c.tenant_id, (today || right(md5(n::text), 20))::uuid, 0, c.id, c.widget_id, 'messaging', '1002000000000001', '7100000000000001', 'message',
        convert_to(repeat('{\"sender\":{\"id\":\"71000000000000\"},', 6), 'UTF8'),
        now(), now()
    from generate_series($1::bigint, $2::bigint) n
    join numbered c on c.nth = (n / 20) % (select count(*) from numbered)";
const EVENTS: &str = "
    insert into events (tenant_id, at, kind, room_id, data)
    select c.tenant_id, now(), 'message.created', ('00000000-0000-7000-8000-' || lpad(to_hex(n / 20), 12, '0'))::uuid,
        jsonb_build_object('id', n, 'content', repeat('Is my order on its way? ', 10))
    from generate_series($1::bigint, $2::bigint) n
    join numbered c on c.nth = (n / 20) % (select count(*) from numbered)";
