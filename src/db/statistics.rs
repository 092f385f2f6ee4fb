//! Keeps PostgreSQL's statistics from being far off while tables are young: a new installation's, and each new day of the logs.
//!
//! A plan that was made for a table of ten rows reads all of it for every row it looks for, and prepared statements keep their plans until
//! the table is analyzed. Autovacuum does that a minute later at best, and a minute is long when the first campaign starts.
//!
//! And keeps tables swept whose rows live for milliseconds: of what a burst leaves behind, each look for what waits reads the dead entries.

use sqlx::PgPool;

/// How many times as many rows as PostgreSQL believes make a table worth a look.
const GROWN: i64 = 8;
/// Tables with fewer rows can be read in any way.
const MIN_ROWS: i64 = 100;
/// Tables of one turn.
const MOST: i64 = 8;
/// `default_statistics_target`: a tenth of the usual sample, 3,000 rows, in a tenth of the time. It is enough to know how large a table
/// is and how its keys are spread; of messages, whose texts are long, the usual one took half a second of a core.
const SAMPLE: i64 = 10;

/// Analyzes tables that have grown much since PostgreSQL last looked at them. How many. Not those that are swept more often than others:
/// their rows live for milliseconds, how many there are is chance, and every time would cost all who use them new plans.
///
/// # Errors
/// The database's. A table that belongs to somebody else is left to autovacuum.
pub async fn refresh(pool: &PgPool) -> sqlx::Result<usize> {
    let grown: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text
        from pg_class c
        where c.relnamespace = current_schema()::regnamespace
          and c.relkind = 'r'
          and pg_has_role(c.relowner, 'usage')
          and pg_stat_get_live_tuples(c.oid) >= greatest($1, $2 * c.reltuples::bigint)
          and not exists (select from unnest(c.reloptions) as o where o like 'autovacuum_vacuum_threshold=%')
        limit $3",
    )
    .bind(MIN_ROWS)
    .bind(GROWN)
    .bind(MOST)
    .fetch_all(pool)
    .await?;
    for table in &grown {
        let mut tx = super::begin(pool).await?;
        // The name comes quoted out of the catalog.
        let analyze = format!("set local default_statistics_target = {SAMPLE}; analyze {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(analyze)).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(grown.len())
}

/// Dead rows that are left to autovacuum.
const FEW_DEAD: i64 = 10_000;

/// Sweeps tables that are swept more often than others, once most of their rows are dead. How many. Half a million dead ones take it
/// half a second; until then each look for what waits of a strand took a quarter of a millisecond.
///
/// # Errors
/// The database's. A table that belongs to somebody else, or that somebody else is sweeping, is left to them.
pub async fn sweep(pool: &PgPool) -> sqlx::Result<usize> {
    let full: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text
        from pg_class c
        where c.relnamespace = current_schema()::regnamespace
          and c.relkind = 'r'
          and pg_has_role(c.relowner, 'usage')
          and pg_stat_get_dead_tuples(c.oid) >= greatest($1, pg_stat_get_live_tuples(c.oid))
          -- Somebody who has been reading for long may need them all.
          and coalesce(pg_stat_get_last_vacuum_time(c.oid), '-infinity') < now() - interval '10 s'
          and exists (select from unnest(c.reloptions) as o where o like 'autovacuum_vacuum_threshold=%')",
    )
    .bind(FEW_DEAD)
    .fetch_all(pool)
    .await?;
    for table in &full {
        // Its pages are kept: giving them back would lock the table. The name comes quoted out of the catalog.
        let vacuum = format!("vacuum (skip_locked, truncate off) {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum)).execute(pool).await?;
    }
    Ok(full.len())
}
