//! `chatgate ledger`: the ledger's sums, and having items applied again, from the command line.

use std::fmt::Write;

use anyhow::Context;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::{
    clock::Moment,
    db::Database,
    ids::TenantId,
    intake::{
        ledger::{self, Part, Sums},
        store::ledger::{ReplayFilter, mark_pending},
    },
    tenants,
};

/// Unexplained items that are named; more would not help whoever looks into the first.
const NAMED: i64 = 20;

/// What both commands are told: whose items, from when to when.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The tenant's slug or id; everybody's items if there is none.
    pub tenant: Option<String>,
    /// Received at or after.
    pub since: Option<Moment>,
    /// Received before.
    pub until: Option<Moment>,
}

impl Wanted {
    async fn tenant(&self, db: &PgPool) -> anyhow::Result<Option<TenantId>> {
        let Some(name) = &self.tenant else { return Ok(None) };
        let tenant = tenants::store::find_named(db, name).await?;
        Ok(Some(tenant.with_context(|| format!("there is no tenant {name}"))?.id))
    }
}

/// Adds the ledger up and prints the sums.
///
/// # Errors
/// If items are unexplained, naming some of them; or the database's.
pub async fn verify(database: &Database, wanted: &Wanted) -> anyhow::Result<String> {
    let part = Part { tenant: wanted.tenant(&database.pool).await?, since: wanted.since, until: wanted.until };
    // It reads every item, which may take longer than a request may.
    let patient = database.options().options([("statement_timeout", "0")]);
    let db = PgPoolOptions::new().max_connections(1).connect_with(patient).await?;
    let sums = ledger::verify(&db, part).await?;
    let unexplained = match sums.unexplained() {
        0 => Vec::new(),
        _ => ledger::list_unexplained(&db, part, NAMED).await?,
    };
    db.close().await;
    let text = show(&sums);
    if sums.unexplained() != 0 {
        let ids: Vec<_> = unexplained.iter().map(ToString::to_string).collect();
        anyhow::bail!("{text}\n{} items are unexplained: {}", sums.unexplained(), ids.join(", "));
    }
    Ok(text)
}

fn show(sums: &Sums) -> String {
    let mut text = String::new();
    for (name, count) in [
        ("received", sums.received),
        ("applied", sums.applied),
        ("duplicates", sums.duplicates),
        ("parked", sums.parked),
        ("ignored", sums.ignored),
        ("pending", sums.pending),
        ("unexplained", sums.unexplained()),
    ] {
        let _ = writeln!(text, "{name:<12}{count:>12}");
    }
    text.trim_end().to_owned()
}

/// Lets parked (or ignored) items be applied again by whoever serves, now or at the next start.
///
/// # Errors
/// The database's.
pub async fn replay(
    database: &Database,
    wanted: &Wanted,
    state: &str,
    kind: Option<String>,
    ids: Vec<uuid::Uuid>,
) -> anyhow::Result<String> {
    let filter = ReplayFilter {
        tenant: wanted.tenant(&database.pool).await?,
        ids: (!ids.is_empty()).then_some(ids),
        state: Some(state.to_owned()),
        kind,
        since: wanted.since,
        until: wanted.until,
    };
    let patient = database.options().options([("statement_timeout", "0")]);
    let mut db = PgConnection::connect_with(&patient).await?;
    let count = mark_pending(&mut db, &filter).await?;
    db.close().await?;
    Ok(format!("{count} {state} items will be applied again"))
}
