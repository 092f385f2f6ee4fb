//! The days of the big logs: made ahead, dropped when they are past keeping. Dropping a day costs the same however much is in it.

use chrono::{Days, NaiveDate};
use sqlx::PgPool;
use tracing::warn;

use crate::{
    clock::{self, Moment},
    ids,
};

/// Days made ahead, so that a stopped worker or a leaping clock finds its day.
const AHEAD: u64 = 3;

/// How long changing the days may wait for a lock: others wait behind it.
const PATIENCE: &str = "set local lock_timeout = '300ms'";

/// A log, and the column by which it is divided.
const LOGS: [(&str, &str); 3] = [("ledger", "id"), ("events", "at"), ("routing_log", "at")];

/// Makes the days from `now` on and drops those that ended more than `keep` days ago. How many were dropped.
///
/// # Errors
/// The database's. A day that somebody reads is left for the next time.
pub async fn keep(pool: &PgPool, now: Moment, keep: u32) -> sqlx::Result<usize> {
    let today = now.date_naive();
    if is_busy(make(pool, today).await)? {
        warn!(
            "days of the logs could not be made beside a long look into them; the default partition serves till the next try"
        );
    }
    drop_before(pool, today.checked_sub_days(Days::new(keep.into())).unwrap_or(NaiveDate::MIN)).await
}

async fn make(pool: &PgPool, today: NaiveDate) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(pool).await?;
    // Processes that start together make the same days; the key spells "days".
    sqlx::query("select pg_advisory_xact_lock(1684110707)").execute(&mut *tx).await?;
    sqlx::raw_sql(PATIENCE).execute(&mut *tx).await?;
    for ahead in 0..=AHEAD {
        let Some((day, next)) = today.checked_add_days(Days::new(ahead)).and_then(|day| Some((day, day.succ_opt()?)))
        else {
            continue;
        };
        for (table, column) in LOGS {
            let name = format!("{table}_{}", day.format("%Y%m%d"));
            let known: Option<String> =
                sqlx::query_scalar("select to_regclass($1)::text").bind(&name).fetch_one(&mut *tx).await?;
            if known.is_some() {
                continue;
            }
            // What came while the day was missing lies in the default partition, beside which PostgreSQL makes no such day.
            let (from, to) = (first(table, day), first(table, next));
            let range = format!("{column} >= '{from}' and {column} < '{to}'");
            let made = format!(
                "lock table {table}_default in access exclusive mode;
                create table {name} (like {table} including defaults including constraints);
                with moved as (delete from {table}_default where {range} returning *) insert into {name} select * from moved;
                alter table {table} attach partition {name} for values from ('{from}') to ('{to}')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&mut *tx).await?;
        }
    }
    tx.commit().await
}

async fn drop_before(pool: &PgPool, oldest: NaiveDate) -> sqlx::Result<usize> {
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('ledger'::regclass, 'events'::regclass, 'routing_log'::regclass) and c.relname ~ '_[0-9]{8}$'
        order by 1",
    )
    .fetch_all(pool)
    .await?;
    let mut dropped = 0;
    for name in names {
        let day = name.rsplit('_').next().and_then(|it| NaiveDate::parse_from_str(it, "%Y%m%d").ok());
        if day.is_none_or(|day| day >= oldest) {
            continue;
        }
        if is_busy(drop_day(pool, &name).await)? {
            warn!(table = name, "{name} is past keeping but being read; it is dropped later");
        } else {
            dropped += 1;
        }
    }
    for (table, column) in LOGS {
        let old = format!("delete from {table}_default where {column} < '{}'", first(table, oldest));
        sqlx::raw_sql(sqlx::AssertSqlSafe(old)).execute(pool).await?;
    }
    // What its items waited for.
    let old = format!("delete from pending where item_id < '{}'", first("ledger", oldest));
    sqlx::raw_sql(sqlx::AssertSqlSafe(old)).execute(pool).await?;
    Ok(dropped)
}

async fn drop_day(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(pool).await?;
    sqlx::raw_sql(PATIENCE).execute(&mut *tx).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table if exists {name}"))).execute(&mut *tx).await?;
    tx.commit().await
}

/// Whether somebody else's lock was in the way.
fn is_busy(done: sqlx::Result<()>) -> sqlx::Result<bool> {
    match done {
        Ok(()) => Ok(false),
        Err(error) if error.as_database_error().and_then(|it| it.code()).as_deref() == Some("55P03") => Ok(true),
        Err(error) => Err(error),
    }
}

/// The first value of a day in the column by which a log is divided.
fn first(table: &str, day: NaiveDate) -> String {
    let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc();
    if table == "ledger" { ids::first(midnight).to_string() } else { clock::show(midnight) }
}
