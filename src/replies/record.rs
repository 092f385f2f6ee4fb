//! Writes verdicts down. All that are there at a moment share one transaction: whoever comes first writes for those who wait.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use sqlx::PgConnection;
use tracing::{error, warn};

use super::{
    Outgoing,
    consequence::Fate,
    store::{
        doubts,
        send::{self, Claim},
    },
};
use crate::{
    clock::Moment,
    db::{self, bell::Topic},
    ids::TenantId,
    rooms::receipts::{self, Changed},
};

/// Verdicts in one transaction.
const MOST_AT_ONCE: usize = 256;
/// How long an echo may take; then Meta's own list is asked.
pub(super) const ECHO_PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// How often a verdict that the database does not take is offered to it again, and the pause between. Afterwards the claim lapses and
/// the message becomes uncertain.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// The end of a claim.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub claim: Claim,
    pub fate: Fate,
    /// When the request may have been written, at the earliest and at the latest; for doubts.
    pub sent_between: (Moment, Moment),
}

/// Writes verdicts down, in sets.
pub(super) struct Recorder {
    outgoing: Outgoing,
    waiting: Mutex<Vec<Outcome>>,
    lead: tokio::sync::Mutex<()>,
}

impl Recorder {
    /// Nothing waits to be written. It writes on a connection of its own.
    pub fn new(outgoing: &Outgoing) -> Self {
        let outgoing = Outgoing { db: db::apart(&outgoing.db, db::BY_KEY), ..outgoing.clone() };
        Self { outgoing, waiting: Mutex::default(), lead: tokio::sync::Mutex::default() }
    }

    /// Returns when the outcomes are in the database (or it has refused them for good, which is logged).
    pub async fn record(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.waiting().extend(outcomes);
        let _lead = self.lead.lock().await;
        // Empty if somebody else has written ours along with theirs.
        let mut all = mem::take(&mut *self.waiting());
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(MOST_AT_ONCE));
            write(&self.outgoing, all).await;
            all = rest;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Outcome>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(outgoing: &Outgoing, outcomes: Vec<Outcome>) {
    let left = match transaction(outgoing, &outcomes, false).await {
        Ok(left) => left,
        Err(error) => {
            warn!(error = %error, "{} verdicts could not be written together", outcomes.len());
            outcomes
        }
    };
    // One by one: held by an echo just now, or one of them spoils the set.
    for it in left {
        write_alone(outgoing, it).await;
    }
}

async fn write_alone(outgoing: &Outgoing, mut it: Outcome) {
    for _ in 0..TRIES {
        let failed = match transaction(outgoing, std::slice::from_ref(&it), true).await {
            Ok(_) => return,
            Err(failed) => failed,
        };
        let constraint = failed.as_database_error().and_then(|it| it.constraint());
        if let Fate::Sent { mid } = &mut it.fate
            && constraint == Some("messages_external_key")
        {
            // The echo came without our metadata and was taken for somebody else's message.
            *mid = None;
            continue;
        }
        warn!(message.id = %it.claim.message, error = %failed, "the verdict on message {} could not be written; trying again", it.claim.message);
        tokio::time::sleep(PAUSE).await;
    }
    error!(message.id = %it.claim.message, "the verdict on message {} is lost: it becomes uncertain", it.claim.message);
}

/// One transaction for all; those that somebody else holds are returned instead of waited for, unless it `waits`.
async fn transaction(outgoing: &Outgoing, outcomes: &[Outcome], waits: bool) -> sqlx::Result<Vec<Outcome>> {
    let now = outgoing.clock.now();
    let claims: Vec<_> = outcomes.iter().map(|it| it.claim).collect();
    let mut tx = db::begin(&outgoing.db).await?;
    let locked = send::lock_messages(&mut tx, &claims, waits).await?;
    let (ours, left): (Vec<_>, Vec<_>) =
        outcomes.iter().cloned().partition(|it| waits || locked.contains(&it.claim.message));
    let changed = settle(&mut tx, &ours, now).await?;
    let mut tenants: Vec<TenantId> = changed.iter().map(|it| it.0).collect();
    receipts::announce_all(&mut tx, &changed, now).await?;
    tx.commit().await?;
    tenants.sort_unstable();
    tenants.dedup();
    tenants.into_iter().for_each(|tenant| outgoing.bell.ring(Topic::Events(tenant)));
    Ok(left)
}

/// Writes what became of messages; which have changed for whoever looks at them.
async fn settle(tx: &mut PgConnection, outcomes: &[Outcome], now: Moment) -> sqlx::Result<Vec<(TenantId, Changed)>> {
    let (mut sent, mut ended, mut again, mut doubtful, mut gone) = (vec![], vec![], vec![], vec![], vec![]);
    for it in outcomes {
        match &it.fate {
            Fate::Sent { mid } => sent.push((it.claim, mid.clone())),
            Fate::Failed { error } => ended.push((it.claim, "failed", error.clone())),
            Fate::Uncertain { error } => {
                ended.push((it.claim, "uncertain", error.clone()));
                doubtful.push((it.claim, it.sent_between.0, it.sent_between.1));
            }
            Fate::Again { due_at, counts } => {
                again.push((it.claim, *due_at, *counts));
                continue;
            }
        }
        gone.push(it.claim);
    }
    let mut changed = send::mark_sent(tx, &sent, now).await?;
    changed.extend(send::mark_ended(tx, &ended).await?);
    doubts::insert_doubts(tx, &doubtful, now + ECHO_PATIENCE).await?;
    send::delete_claims(tx, &gone).await?;
    send::mark_due(tx, &again).await?;
    Ok(changed)
}
