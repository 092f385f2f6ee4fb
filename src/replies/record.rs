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
        send::{self, Claim, Settled},
    },
};
use crate::{
    clock::Moment,
    db::{
        self,
        bell::{Topic, Work},
    },
    ids::TenantId,
    rooms::receipts,
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
    // A message that is put behind one of these meanwhile is not seen below, but heard.
    let rings = outgoing.bell.changes(Work::Outbox);
    let mut tx = db::begin(&outgoing.db).await?;
    if waits {
        let claims: Vec<_> = outcomes.iter().map(|it| it.claim).collect();
        send::lock_messages(&mut tx, &claims, true).await?;
    }
    let accepted: Vec<_> = outcomes.iter().filter_map(sent).collect();
    let mut settled = send::settle_sent(&mut tx, &accepted, now).await?;
    let others: Vec<_> = outcomes.iter().filter(|it| sent(it).is_none()).collect();
    if !others.is_empty() {
        settle_others(&mut tx, &others, &mut settled, waits, now).await?;
    }
    let mut tenants: Vec<TenantId> = settled.changed.iter().map(|it| it.0).collect();
    receipts::log_all(&mut tx, &settled.changed, now).await?;
    tx.commit().await?;
    tenants.sort_unstable();
    tenants.dedup();
    tenants.into_iter().for_each(|tenant| outgoing.bell.ring(Topic::Events(tenant)));
    if settled.has_next || rings.has_changed().unwrap_or(true) {
        // Only here: other processes find a room's next message by themselves.
        outgoing.bell.ring_here(Topic::Outbox);
    }
    Ok(outcomes.iter().filter(|it| !settled.done.contains(&it.claim.message)).cloned().collect())
}

fn sent(outcome: &Outcome) -> Option<(Claim, Option<&str>)> {
    match &outcome.fate {
        Fate::Sent { mid } => Some((outcome.claim, mid.as_deref())),
        _ => None,
    }
}

/// Writes what became of messages that were not sent.
async fn settle_others(
    tx: &mut PgConnection,
    outcomes: &[&Outcome],
    settled: &mut Settled,
    waits: bool,
    now: Moment,
) -> sqlx::Result<()> {
    let claims: Vec<_> = outcomes.iter().map(|it| it.claim).collect();
    let locked = send::lock_messages(tx, &claims, waits).await?;
    settled.done.extend(locked.iter().copied().chain(claims.iter().map(|it| it.message).filter(|_| waits)));
    let (mut ended, mut again, mut doubtful, mut gone) = (vec![], vec![], vec![], vec![]);
    for it in outcomes.iter().filter(|it| settled.done.contains(&it.claim.message)) {
        match &it.fate {
            // They have been settled.
            Fate::Sent { .. } => continue,
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
    let changed = send::mark_ended(tx, &ended).await?;
    doubts::insert_doubts(tx, &doubtful, now + ECHO_PATIENCE).await?;
    send::delete_claims(tx, &gone).await?;
    send::mark_due(tx, &again).await?;
    settled.has_next |= !gone.is_empty();
    settled.changed.extend(receipts::list_changed(tx, &changed).await?);
    Ok(())
}
