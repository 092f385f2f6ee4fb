//! Keeps the promise: items become messages, receipts and echoes in rooms, in order for each (page, sender), once.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::{error, warn};

use super::{
    meter,
    outcomes::{self, done, done_in},
    store::{self, Done, Pending},
    strands::{Share, Strand, Strands, Task},
};
use crate::{
    channels::{Event, What, messenger::normalize::normalize, meta::envelope::Lane},
    clock::{Clock, Moment},
    crew::{Step, Worker},
    db::{
        self,
        bell::{Bell, Topic},
    },
    ids::{ItemId, MessageId, TenantId, WidgetId},
    queues::place::load_places,
    rooms::receive::{self, Inbound, Received},
};

/// Items applied in one transaction.
const MOST_ITEMS: usize = 500;
/// Transactions of one step. A batch that fails is halved until the bad item is alone; what is left then waits for the next step.
const MOST_TRIES: usize = 64;
/// How often an item that violates a constraint is tried before it is parked.
const MOST_FAILURES: u32 = 3;
/// How long applying waits for a room that somebody else holds locked: one that is held up shall not hold up all.
const PATIENCE: (&str, &str) = ("lock_timeout", "300ms");
/// How long a strand rests that could not be applied in that time; it is then tried alone.
const SLOW_REST: Duration = Duration::from_millis(500);
/// How long a strand is left alone that another process is applying.
const BUSY_REST: Duration = Duration::from_millis(10);

/// The worker that applies. Any number may run, in any number of processes: each takes strands that nobody else has.
pub struct Applier {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    strands: Strands,
}

impl Applier {
    /// An applier; those of a process have their strands in common.
    #[must_use]
    pub fn new(db: &PgPool, bell: Bell, clock: Clock, strands: Strands) -> Self {
        Self { db: db::apart(db, db::BY_KEY.into_iter().chain([PATIENCE])), bell, clock, strands }
    }

    /// Has the ledger searched at the next step.
    pub fn look_again(&self) {
        self.strands.look_again();
    }
}

impl Worker for Applier {
    const NAME: &'static str = "apply";

    async fn step(&self) -> anyhow::Result<Step> {
        match self.strands.next(Instant::now()) {
            Task::Apply(mut share) => self.work(&mut share).await?,
            Task::Look => {
                for (tenant, shard) in store::list_pending_strands(&self.db).await? {
                    self.strands.add(tenant, 1 << shard);
                }
            }
            Task::Yield(pause) => tokio::time::sleep(pause).await,
            Task::Rest(Some(pause)) if pause <= BUSY_REST => tokio::time::sleep(pause).await,
            Task::Rest(_) => return Ok(Step::Idle),
        }
        Ok(Step::Worked)
    }
}

/// How a transaction sees to it that rooms stay as it found them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// It looks whether they did when it writes: nearly always, and one question less.
    Looks,
    /// It locks them first.
    Locks,
}

/// What a transaction did.
enum Tried {
    /// Applied what it found.
    Applied {
        /// Where there may be more.
        left: Vec<Strand>,
        /// What another process holds.
        busy: Vec<Strand>,
    },
    /// Nothing: somebody wrote into a room of these items, took it or closed it at the same moment.
    Overtaken,
    /// Nothing, because of one or more of these items.
    Failed { items: Vec<Pending>, error: sqlx::Error },
}

impl Applier {
    /// Applies what waits in a share; in halves where it fails, until the items that cannot be applied are alone. The others never wait
    /// for them.
    async fn work(&self, share: &mut Share) -> anyhow::Result<()> {
        let mut parts = vec![(share.strands.clone(), MOST_ITEMS, Care::Looks)];
        let mut failures: HashMap<ItemId, u32> = HashMap::new();
        share.left.clear();
        for tried in 0.. {
            let Some((strands, most, care)) = parts.pop() else { break };
            if tried >= MOST_TRIES {
                share.left.extend(strands);
                continue;
            }
            match self.attempt(&strands, most, care).await {
                Ok(Tried::Applied { left, busy }) => {
                    share.left.extend(left);
                    let until = Instant::now() + BUSY_REST;
                    share.busy.extend(busy.into_iter().map(|it| (it, until)));
                }
                Ok(Tried::Overtaken) => parts.push((strands, most, Care::Locks)),
                Ok(Tried::Failed { items, error }) => {
                    let with_items: BTreeSet<Strand> = items.iter().map(|it| (it.tenant, it.shard)).collect();
                    let with_items: Vec<Strand> = with_items.into_iter().collect();
                    warn!(items = items.len(), error = %error, "a batch of {} items fails; trying half of it", items.len());
                    match (&with_items[..], &items[..]) {
                        ([strand], [_]) if !is_about_data(&error) => {
                            share.slow.push((*strand, Instant::now() + SLOW_REST))
                        }
                        ([strand], [item]) if is_race(&error) && count(&mut failures, item.id) < MOST_FAILURES => {
                            parts.push((vec![*strand], 1, care));
                        }
                        ([strand], [item]) => {
                            self.park(item, &error).await?;
                            share.left.push(*strand);
                        }
                        // The front half first: what is behind it keeps its place.
                        ([strand], items) => {
                            parts.push((vec![*strand], items.len() / 2, care));
                            share.left.push(*strand);
                        }
                        (strands, _) => {
                            let (one, two) = strands.split_at(strands.len() / 2);
                            parts.push((two.to_vec(), most, care));
                            parts.push((one.to_vec(), most, care));
                        }
                    }
                }
                Err(error) => {
                    share.left.extend(strands);
                    share.left.extend(parts.into_iter().flat_map(|it| it.0));
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// One transaction: locks strands, applies their oldest items, rings.
    async fn attempt(&self, strands: &[Strand], most: usize, care: Care) -> sqlx::Result<Tried> {
        let mut tx = db::begin(&self.db).await?;
        let quota = |it: &Strand| Share::quota(strands, it.0, most);
        let limits: Vec<i64> = strands.iter().map(|it| i64::try_from(quota(it)).unwrap_or(1)).collect();
        let store::Taken { ours, items, has_more } = store::take_pending(&mut tx, strands, &limits).await?;
        let mut counts: HashMap<Strand, usize> = HashMap::new();
        items.iter().for_each(|it| *counts.entry((it.tenant, it.shard)).or_default() += 1);
        let may_have_more = |it: &&Strand| has_more || counts.get(it).is_some_and(|count| *count >= quota(it));
        let left = ours.iter().filter(may_have_more).copied().collect();
        let busy = strands.iter().filter(|it| !ours.contains(it)).copied().collect();
        if items.is_empty() {
            return Ok(Tried::Applied { left, busy });
        }
        let applied = match apply(&mut tx, &items, care, self.clock.now()).await {
            Ok(Some(applied)) => tx.commit().await.map(|()| applied),
            Ok(None) => return Ok(Tried::Overtaken),
            Err(error) => Err(error),
        };
        match applied {
            Ok(Applied { done, opened, wakes_senders }) => {
                meter::applied(&items, &done, self.clock.now());
                let tenants: HashSet<_> = items.iter().map(|it| it.tenant).collect();
                tenants.into_iter().for_each(|it| self.bell.ring(Topic::Events(it)));
                if wakes_senders {
                    self.bell.ring(Topic::Outbox);
                }
                opened.into_iter().for_each(|it| self.bell.ring(Topic::Queues(it)));
                Ok(Tried::Applied { left, busy })
            }
            Err(error) if is_about_data(&error) || is_slow(&error) => Ok(Tried::Failed { items, error }),
            // PostgreSQL is away: nothing is wrong with the items.
            Err(error) => Err(error),
        }
    }

    async fn park(&self, item: &Pending, error: &sqlx::Error) -> sqlx::Result<()> {
        error!(item.id = %item.id, kind = %item.kind, error = %error, "item {} cannot be applied and is parked", item.id);
        // The kind of error only: its text may quote what the customer wrote.
        let code = error
            .as_database_error()
            .and_then(|it| it.code())
            .map_or_else(|| "unknown".to_owned(), |it| it.into_owned());
        let mut done = done(item, "parked");
        done.outcome = Some(format!("database error {code}"));
        let mut tx = db::begin(&self.db).await?;
        store::take_one(&mut tx, item).await?;
        store::mark_done(&mut tx, std::slice::from_ref(&done), self.clock.now()).await?;
        tx.commit().await?;
        meter::applied(std::slice::from_ref(item), &[done], self.clock.now());
        Ok(())
    }
}

/// Counts one more failure of an item.
fn count(failures: &mut HashMap<ItemId, u32>, item: ItemId) -> u32 {
    let times = failures.entry(item).or_default();
    *times += 1;
    *times
}

/// Whether another's transaction may have been the reason, which has ended now: two at once may both insert what is unique.
fn is_race(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|code| code.starts_with("23"))
}

/// Whether the error would come again with the same data.
fn is_about_data(error: &sqlx::Error) -> bool {
    match error {
        // Deadlocks, time-outs and shutdowns pass, and so does a table or a right that is missing (class 42), which is nobody's message's
        // fault; these classes (data, integrity, too long for an index) do not.
        sqlx::Error::Database(db) => {
            db.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::Encode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

/// Whether it took too long, or got into another's way: it may work the next time.
fn is_slow(error: &sqlx::Error) -> bool {
    // Lock timeout, statement timeout, deadlock, serialization.
    error
        .as_database_error()
        .and_then(|it| it.code())
        .is_some_and(|it| ["55P03", "57014", "40P01", "40001"].contains(&&*it))
}

/// What a transaction changed.
struct Applied {
    /// What became of each item.
    done: Vec<Done>,
    /// Whose rooms were opened. Only these need an agent: most messages go into rooms that have one.
    opened: BTreeSet<TenantId>,
    /// Whether something may go out by it that could not before.
    wakes_senders: bool,
}

/// Applies items and writes down what became of each. None if a room was not as it was found any more.
async fn apply(tx: &mut PgConnection, items: &[Pending], care: Care, now: Moment) -> sqlx::Result<Option<Applied>> {
    let (mut opened, mut wakes_senders) = (BTreeSet::new(), false);
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
        let inbound: Vec<_> =
            together.into_iter().filter_map(|(item, event)| Some((item, inbound(item, event)?))).collect();
        if !inbound.is_empty() {
            let (came, messages): (Vec<_>, Vec<_>) = inbound.into_iter().unzip();
            let Some(received) = store(tx, &messages, care, now).await? else { return Ok(None) };
            opened.extend(received.opened);
            wakes_senders |= received.says;
            finished.extend(came.into_iter().zip(received.outcomes).map(|(item, received)| match received {
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
                wakes_senders |= !matches!(event.what, What::Delivered { .. } | What::Read { .. });
                finished.push(outcomes::apply_one(tx, item, event, now).await?);
            }
        }
        order.retain(|key| senders.get(key).is_some_and(|line| !line.is_empty()));
    }
    store::mark_done(tx, &finished, now).await?;
    Ok(Some(Applied { done: finished, opened, wakes_senders }))
}

/// Stores messages; whose contacts have no open room get one at the place of their widget. None if one of the
/// rooms is not as it was found any more: the transaction must not be committed then.
///
/// # Errors
/// The database's.
pub async fn store(
    tx: &mut PgConnection,
    messages: &[Inbound],
    care: Care,
    now: Moment,
) -> sqlx::Result<Option<receive::Batch>> {
    let mut looked = receive::look(tx, messages, now).await?;
    // Where only so many may wait, lines are locked before rooms, as everywhere.
    let mut places = load_places(tx, looked.without_room(), now).await?;
    if care == Care::Locks {
        looked.lock(tx).await?;
        // Rooms that were closed meanwhile.
        let more = looked.without_room().into_iter().filter(|it| !places.contains_key(&it.1)).collect();
        places.extend(load_places(tx, more, now).await?);
    }
    looked.store(tx, &places, now).await
}

fn inbound(item: &Pending, event: Event) -> Option<Inbound> {
    let What::Inbound { external_id, content, reply_to, referral } = event.what else { return None };
    let (tenant, widget, sender) = (item.tenant, item.widget, item.sender.clone());
    let id = MessageId(item.id.0);
    Some(Inbound { id, tenant, widget, sender, at: event.at, external_id, content, reply_to, referral })
}
