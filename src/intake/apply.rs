//! Keeps the promise: items become messages, receipts and echoes in rooms, in order for each (page, sender), once.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
};

use sqlx::{PgConnection, PgPool};
use tracing::{error, warn};

use super::{
    outcomes::{self, done, done_in},
    store::{self, Done, Pending},
};
use crate::{
    channels::{Event, What, messenger::normalize::normalize, meta::envelope::Lane},
    clock::{Clock, Moment},
    crew::{Step, Worker},
    db::bell::{Bell, Topic},
    ids::WidgetId,
    queues::{assign::load_routes, place::place},
    rooms::receive::{self, Inbound, Received},
};

/// Items applied in one transaction.
const MOST_ITEMS: usize = 500;

/// The worker that applies. Any number may run, in any number of processes: each takes shards that nobody else has.
pub struct Applier {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    /// Items for the next transaction. Halved when one fails, until the bad item is alone and parked; doubled when one succeeds.
    most: AtomicUsize,
}

impl Applier {
    /// An applier.
    #[must_use]
    pub fn new(db: PgPool, bell: Bell, clock: Clock) -> Self {
        Self { db, bell, clock, most: AtomicUsize::new(MOST_ITEMS) }
    }
}

impl Worker for Applier {
    const NAME: &'static str = "apply";

    async fn step(&self) -> anyhow::Result<Step> {
        let shards = store::list_pending_shards(&self.db).await?;
        if shards.is_empty() {
            return Ok(Step::Idle);
        }
        let most = self.most.load(Ordering::Relaxed);
        let mut tx = self.db.begin().await?;
        let shards = store::try_lock_shards(&mut tx, &shards).await?;
        let items = store::list_pending(&mut tx, &shards, i64::try_from(most)?).await?;
        if items.is_empty() {
            return Ok(Step::Idle);
        }
        let now = self.clock.now();
        let applied = match apply(&mut tx, &items, now).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        match applied {
            Ok(()) => {
                self.most.store((most * 2).min(MOST_ITEMS), Ordering::Relaxed);
                let tenants: HashSet<_> = items.iter().map(|it| it.tenant).collect();
                for tenant in tenants {
                    self.bell.ring(Topic::Events(tenant));
                    self.bell.ring(Topic::Queues(tenant));
                }
                self.bell.ring(Topic::Outbox);
                metrics::counter!("chatgate_items_applied_total").increment(items.len() as u64);
                Ok(Step::Worked)
            }
            // PostgreSQL is away or in a hurry: nothing is wrong with the items.
            Err(error) if !is_about_data(&error) => Err(error.into()),
            Err(error) if items.len() == 1 => {
                let item = &items[0];
                error!(item.id = %item.id, kind = %item.kind, error = %error, "item {} cannot be applied and is parked", item.id);
                metrics::counter!("chatgate_items_parked_total").increment(1);
                self.park(item, &error, now).await?;
                Ok(Step::Worked)
            }
            Err(error) => {
                warn!(items = items.len(), error = %error, "a batch of {} items fails; trying half of it", items.len());
                self.most.store((items.len() / 2).max(1), Ordering::Relaxed);
                Ok(Step::Worked)
            }
        }
    }
}

impl Applier {
    async fn park(&self, item: &Pending, error: &sqlx::Error, now: Moment) -> anyhow::Result<()> {
        // The kind of error only: its text may quote what the customer wrote.
        let code = error
            .as_database_error()
            .and_then(|it| it.code())
            .map_or_else(|| "unknown".to_owned(), |it| it.into_owned());
        let mut done = done(item, "parked");
        done.outcome = Some(format!("database error {code}"));
        let mut tx = self.db.begin().await?;
        store::mark_done(&mut tx, &[done], now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Whether the error would come again with the same data.
fn is_about_data(error: &sqlx::Error) -> bool {
    match error {
        // Deadlocks, time-outs and shutdowns pass; these classes (data, integrity, syntax, too long for an index) do not.
        sqlx::Error::Database(db) => {
            db.code().is_some_and(|code| ["22", "23", "42", "54"].iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::Encode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

async fn apply(tx: &mut PgConnection, items: &[Pending], now: Moment) -> sqlx::Result<()> {
    let mut finished = Vec::with_capacity(items.len());
    // Each sender's events, in order.
    let mut senders: HashMap<(WidgetId, &str), VecDeque<(&Pending, Event)>> = HashMap::new();
    let mut order = Vec::new();
    for item in items {
        let raw = String::from_utf8_lossy(&item.raw);
        match normalize(&raw, Lane::of(&item.lane), &item.page_id, item.entry_time, item.received_at) {
            Ok(event) => {
                let key = (item.widget, item.sender.as_str());
                let line = senders.entry(key).or_default();
                if line.is_empty() {
                    order.push(key);
                }
                line.push_back((item, event));
            }
            Err(_) => finished.push(Done { outcome: Some("not readable".to_owned()), ..done(item, "parked") }),
        }
    }
    let widgets: BTreeSet<_> = items.iter().map(|it| (it.tenant, it.widget)).collect();
    let widgets: Vec<_> = widgets.into_iter().collect();
    let routes = load_routes(tx, &widgets).await?;
    // Messages of all senders go in together; what is no message waits for the sender's messages before it.
    while !order.is_empty() {
        let mut together = Vec::new();
        for key in &order {
            let line = senders.get_mut(key).expect("every key in order has a line");
            while matches!(line.front(), Some((_, Event { what: What::Inbound { .. }, .. }))) {
                together.extend(line.pop_front());
            }
        }
        let facts: Vec<_> =
            together.iter_mut().filter_map(|(item, event)| Some((*item, event.at, event.fact.take()?))).collect();
        let inbound: Vec<_> = together
            .into_iter()
            .filter_map(|(item, event)| Some((item, inbound(item, event, place(routes.get(&item.widget), now))?)))
            .collect();
        if !inbound.is_empty() {
            let (came, messages): (Vec<_>, Vec<_>) = inbound.into_iter().unzip();
            let received = receive::receive(tx, &messages, now).await?;
            finished.extend(came.into_iter().zip(received).map(|(item, received)| match received {
                Received::Stored { room, message } => done_in(item, "applied", room, message),
                Received::Duplicate { room, message } => done_in(item, "duplicate", room, message),
            }));
        }
        for (item, at, fact) in facts {
            outcomes::remember(tx, item, at, &fact, now).await?;
        }
        for key in &order {
            let line = senders.get_mut(key).expect("every key in order has a line");
            while let Some((item, event)) = line.pop_front_if(|(_, event)| !matches!(event.what, What::Inbound { .. }))
            {
                finished.push(outcomes::apply_one(tx, item, event, now).await?);
            }
        }
        order.retain(|key| senders.get(key).is_some_and(|line| !line.is_empty()));
    }
    for it in &finished {
        let state = it.state;
        metrics::counter!("chatgate_items_total", "state" => state).increment(1);
    }
    store::mark_done(tx, &finished, now).await
}

fn inbound(item: &Pending, event: Event, place: crate::rooms::Place) -> Option<Inbound> {
    let What::Inbound { external_id, content, reply_to, referral } = event.what else { return None };
    let (tenant, widget, sender) = (item.tenant, item.widget, item.sender.clone());
    Some(Inbound { tenant, widget, sender, at: event.at, external_id, content, reply_to, referral, place })
}
