//! `chatgate ledger`: the ledger's sums, its items, and having them applied again, from the command line.

use std::fmt::Write;

use anyhow::Context;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::{
    clock::{Moment, show as show_time},
    db::Database,
    ids::TenantId,
    intake::{
        ledger::{self, Item, Part, Sums},
        store::ledger::{Filter, ReplayFilter, list as list_items, mark_pending},
    },
    tenants,
};

/// Unexplained items that are named; more would not help whoever looks into the first.
const NAMED: i64 = 20;

/// Tenants read at one time.
const TENANTS: i64 = 200;
/// What stands for the tenant of an item that nobody has.
const NOBODY: &str = "-";

/// What every command is told: whose items, from when to when.
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

/// Which items are listed, and how many.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Only those that belong to no tenant: of an operator's app, about a Page that nobody has connected, or unreadable.
    pub unclaimed: bool,
    /// Of this state.
    pub state: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// The newest, so many.
    pub limit: i64,
}

/// Prints items, newest first, a line each. What they say is not shown, nor whom they are about.
///
/// # Errors
/// The database's.
pub async fn list(database: &Database, wanted: &Wanted, listed: Listed) -> anyhow::Result<String> {
    let filter = Filter {
        states: listed.state.map(|it| vec![it]),
        kind: listed.kind,
        since: wanted.since,
        until: wanted.until,
        ..Filter::default()
    };
    let patient = database.options().options([("statement_timeout", "0")]);
    let db = PgPoolOptions::new().max_connections(1).connect_with(patient).await?;
    let owners = match &wanted.tenant {
        Some(name) => {
            vec![(wanted.tenant(&db).await?.with_context(|| format!("there is no tenant {name}"))?, name.clone())]
        }
        None => owners(&db, listed.unclaimed).await?,
    };
    let mut items = Vec::new();
    for (tenant, name) in &owners {
        items.extend(newest(&db, *tenant, &filter, listed.limit).await?.into_iter().map(|it| (name.as_str(), it)));
    }
    db.close().await;
    items.sort_by_key(|it| std::cmp::Reverse(it.1.id.0));
    items.truncate(usize::try_from(listed.limit).unwrap_or(0));
    let mut text = ["received", "applied", "tenant", "page", "kind", "state", "deliveries", "id", "outcome"].join("\t");
    for (tenant, it) in &items {
        text.push('\n');
        text.push_str(&line(tenant, it));
    }
    Ok(text)
}

/// Every tenant and nobody, or nobody alone.
async fn owners(db: &PgPool, only_nobody: bool) -> sqlx::Result<Vec<(TenantId, String)>> {
    let mut owners = vec![(TenantId::PLATFORM, NOBODY.to_owned())];
    let mut is_more = !only_nobody;
    while is_more {
        let after = owners.last().map_or(TenantId::PLATFORM, |it| it.0);
        let tenants = tenants::store::list(db, after.0, TENANTS).await?;
        is_more = !tenants.is_empty();
        owners.extend(tenants.into_iter().map(|it| (it.id, it.slug)));
    }
    Ok(owners)
}

async fn newest(db: &PgPool, tenant: TenantId, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Item>> {
    let (mut found, mut before) = (Vec::new(), uuid::Uuid::max());
    loop {
        let left = limit - i64::try_from(found.len()).unwrap_or(limit);
        let (items, next) = list_items(db, tenant, filter, before, left).await?;
        found.extend(items);
        match next {
            Some(next) if i64::try_from(found.len()).is_ok_and(|it| it < limit) => before = next,
            _ => return Ok(found),
        }
    }
}

fn line(tenant: &str, it: &Item) -> String {
    let applied = it.applied_at.map_or_else(|| "-".to_owned(), show_time);
    let outcome = it.outcome.as_deref().unwrap_or("-");
    let columns = [
        &show_time(it.received_at),
        &applied,
        tenant,
        &it.page_id,
        &it.kind,
        it.state.as_str(),
        &it.deliveries.to_string(),
        &it.id.to_string(),
        outcome,
    ];
    // Some of it is as the sender wrote it, and a terminal obeys what it is shown.
    columns.map(|it| it.chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>()).join("\t")
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
