//! The days of the big logs: made ahead, dropped when they are past keeping. Dropping a day costs the same however much is in it.

use chrono::{Days, NaiveDate};
use sqlx::PgPool;

use crate::clock::Moment;

/// Days made ahead, so that a stopped worker or a leaping clock finds its day.
const AHEAD: u64 = 3;

/// Makes the days from `now` on and drops those that ended more than `keep` days ago. How many were dropped.
///
/// # Errors
/// The database's.
pub async fn keep(pool: &PgPool, now: Moment, keep: u32) -> sqlx::Result<usize> {
    let today = now.date_naive();
    let mut tx = pool.begin().await?;
    // Processes that start together make the same days; the key spells "days".
    sqlx::query("select pg_advisory_xact_lock(1684110707)").execute(&mut *tx).await?;
    for ahead in 0..=AHEAD {
        let Some((day, next)) = today.checked_add_days(Days::new(ahead)).and_then(|day| Some((day, day.succ_opt()?)))
        else {
            continue;
        };
        for (table, from, to) in [
            ("ledger", first_id(day), first_id(next)),
            ("events", format!("{day}T00:00:00Z"), format!("{next}T00:00:00Z")),
            ("routing_log", format!("{day}T00:00:00Z"), format!("{next}T00:00:00Z")),
        ] {
            let name = format!("{table}_{}", day.format("%Y%m%d"));
            let known: Option<String> =
                sqlx::query_scalar("select to_regclass($1)::text").bind(&name).fetch_one(&mut *tx).await?;
            if known.is_none() {
                let made = format!("create table {name} partition of {table} for values from ('{from}') to ('{to}')");
                sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&mut *tx).await?;
            }
        }
    }
    let oldest = today.checked_sub_days(Days::new(keep.into())).unwrap_or(NaiveDate::MIN);
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('ledger'::regclass, 'events'::regclass, 'routing_log'::regclass) and c.relname ~ '_[0-9]{8}$'",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut dropped = 0;
    for name in names {
        let day = name.rsplit('_').next().and_then(|it| NaiveDate::parse_from_str(it, "%Y%m%d").ok());
        if day.is_some_and(|day| day < oldest) {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table {name}"))).execute(&mut *tx).await?;
            dropped += 1;
        }
    }
    tx.commit().await?;
    Ok(dropped)
}

/// The smallest UUIDv7 of a day: its milliseconds since 1970 are the first 48 bits.
fn first_id(day: NaiveDate) -> String {
    let ms = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    let hex = format!("{ms:012x}");
    format!("{}-{}-0000-0000-000000000000", &hex[..8], &hex[8..])
}
