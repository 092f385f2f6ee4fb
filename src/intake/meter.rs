//! What the intake counts. Everything is counted after the commit that made it true, so the sums agree with the ledger; labels are
//! words of ours, never a customer's.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use sqlx::PgPool;

use super::{
    NewItem,
    store::{self, Done, Pending, accept::Settled},
};
use crate::{
    channels::meta::envelope::kind_label,
    clock::{Clock, Moment},
    crew::{Step, Worker},
};

const ACCEPTED: &str = "chatgate_items_accepted_total";
const SETTLED: &str = "chatgate_items_settled_total";
const SIGNATURE_FAILURES: &str = "chatgate_signature_failures_total";
const REFUSED: &str = "chatgate_webhooks_refused_total";
const WRITE_ITEMS: &str = "chatgate_intake_write_items";
const WRITE_SECONDS: &str = "chatgate_intake_write_seconds";
const DURABLE_SECONDS: &str = "chatgate_intake_durable_seconds";
const APPLY_ITEMS: &str = "chatgate_intake_apply_items";
const APPLIED_SECONDS: &str = "chatgate_intake_applied_seconds";
const NEWEST_ACCEPTED: &str = "chatgate_intake_newest_accepted_timestamp_seconds";
const NEWEST_APPLIED: &str = "chatgate_intake_newest_applied_timestamp_seconds";
const PENDING: &str = "chatgate_intake_pending_items";
const OLDEST: &str = "chatgate_intake_oldest_pending_seconds";
const LAG: &str = "chatgate_intake_lag_seconds";

/// Says what each metric means, for `/metrics`.
pub fn describe() {
    describe_counter!(ACCEPTED, "Webhook items stored, by kind");
    describe_counter!(SETTLED, "What became of items: state applied, duplicate, ignored or parked, by kind");
    describe_counter!(SIGNATURE_FAILURES, "Webhooks with a missing or wrong signature, by Meta app (our id)");
    describe_counter!(REFUSED, "Webhooks answered 503, by reason: database or full");
    describe_histogram!(WRITE_ITEMS, "Items of one write to the ledger");
    describe_histogram!(WRITE_SECONDS, Unit::Seconds, "One write to the ledger, with its commit");
    describe_histogram!(DURABLE_SECONDS, Unit::Seconds, "From a webhook's last byte to the commit that holds it");
    describe_histogram!(APPLY_ITEMS, "Items applied in one transaction");
    describe_histogram!(
        APPLIED_SECONDS,
        Unit::Seconds,
        "From an item's arrival to the commit that shows it in its room"
    );
    describe_gauge!(NEWEST_ACCEPTED, Unit::Seconds, "When the newest item that this process stored had come");
    describe_gauge!(NEWEST_APPLIED, Unit::Seconds, "When the newest item that this process applied had come");
    describe_gauge!(PENDING, "Items that wait to be applied, in all processes; counted up to 100,000");
    describe_gauge!(OLDEST, Unit::Seconds, "How long the oldest pending item has waited, in all processes");
    describe_gauge!(LAG, Unit::Seconds, "Newest accepted less newest applied item, in all processes");
}

/// A write to the ledger has been committed. `settled` are those of `items` that nobody needs to apply.
pub(super) fn stored(items: &[NewItem], settled: &[Settled], took: Duration) {
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    for item in items {
        *kinds.entry(kind_label(&item.kind)).or_default() += 1;
    }
    for (kind, count) in kinds {
        counter!(ACCEPTED, "kind" => kind).increment(count);
    }
    for it in settled {
        settle(kind_label(&it.kind), it.state, it.count);
    }
    histogram!(WRITE_ITEMS).record(count(items.len()));
    histogram!(WRITE_SECONDS).record(took.as_secs_f64());
    newest(NEWEST_ACCEPTED, items.iter().map(|it| it.received_at));
}

/// A webhook is durable, so long after its last byte.
pub(super) fn durable(after: Duration) {
    histogram!(DURABLE_SECONDS).record(after.as_secs_f64());
}

/// A batch of items has been applied and committed.
pub(super) fn applied(items: &[Pending], done: &[Done], now: Moment) {
    let states: HashMap<_, _> = done.iter().map(|it| (it.id, it.state)).collect();
    let mut counts: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    let seconds = histogram!(APPLIED_SECONDS);
    for item in items {
        let Some(state) = states.get(&item.id) else { continue };
        *counts.entry((kind_label(&item.kind), state)).or_default() += 1;
        seconds.record((now - item.received_at).as_seconds_f64().max(0.0));
    }
    for ((kind, state), count) in counts {
        settle(kind, state, count);
    }
    histogram!(APPLY_ITEMS).record(count(items.len()));
    newest(NEWEST_APPLIED, items.iter().map(|it| it.received_at));
}

/// Messages were applied by the write that stored them, and committed.
pub(super) fn applied_at_once<'a>(items: impl Iterator<Item = &'a NewItem> + Clone, now: Moment) {
    let seconds = histogram!(APPLIED_SECONDS);
    let mut number = 0;
    for item in items.clone() {
        number += 1;
        seconds.record((now - item.received_at).as_seconds_f64().max(0.0));
    }
    if number > 0 {
        settle("message", "applied", number);
        newest(NEWEST_APPLIED, items.map(|it| it.received_at));
    }
}

/// A webhook's signature was missing or wrong. The app's id is ours, and there are as many as apps.
pub(super) fn bad_signature(app: crate::ids::MetaAppId) {
    counter!(SIGNATURE_FAILURES, "app" => app.to_string()).increment(1);
}

/// A webhook was answered 503.
pub(super) fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

fn settle(kind: &'static str, state: &'static str, count: u64) {
    counter!(SETTLED, "kind" => kind, "state" => state).increment(count);
}

fn newest(name: &'static str, came: impl Iterator<Item = Moment>) {
    if let Some(at) = came.max() {
        gauge!(name).set(seconds(at));
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are 285,000 years")]
fn seconds(at: Moment) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a batch has thousands of items, not 2^53")]
fn count(items: usize) -> f64 {
    items as f64
}

/// Looks from time to time how far applying is behind, in all processes.
pub struct Meter {
    db: PgPool,
    clock: Clock,
}

impl Meter {
    /// A meter.
    #[must_use]
    pub fn new(db: PgPool, clock: Clock) -> Self {
        Self { db, clock }
    }
}

impl Worker for Meter {
    const NAME: &'static str = "meter";
    /// Twice for each usual scrape of Prometheus.
    const POLL: Duration = Duration::from_secs(5);

    async fn step(&self) -> anyhow::Result<Step> {
        let backlog = store::load_backlog(&self.db).await?;
        let age = |from: Option<Moment>, to: Moment| from.map_or(0.0, |from| (to - from).as_seconds_f64().max(0.0));
        gauge!(PENDING).set(f64::from(backlog.items));
        gauge!(OLDEST).set(age(backlog.oldest, self.clock.now()));
        // What waits is what came after the newest applied item, so the two ends of the backlog are that far apart.
        gauge!(LAG).set(backlog.newest.map_or(0.0, |newest| age(backlog.oldest, newest)));
        Ok(Step::Idle)
    }
}
