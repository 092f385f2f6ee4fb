//! Who applies what, in this process. A strand is a tenant's part of a shard: its items are applied in order, by one applier at a time.
//!
//! [`Strands`] knows where something waits: what this process accepted, and what a look into the ledger found (items of a process that
//! died, or that were put back by hand). It deals strands out so that every tenant gets its turn: tenants take turns in a ring, and no
//! tenant ever holds all appliers, so that a flood leaves one for everybody else. Between processes an advisory lock on each decides.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::SHARDS;
use crate::ids::TenantId;

/// How often the ledger is searched for what nobody told us about: how late a dead process's items are taken over.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A second applier joins when the first has been at work for so long: where one keeps up, two would only make smaller batches, which
/// cost more for each message.
const JOINS_AFTER: Duration = Duration::from_millis(10);
/// While the door is pressed, appliers take one share in this time: a trickle that still passes everybody's messages on, each tenant
/// the same part, and leaves the machine to accepting.
const TRICKLE: Duration = Duration::from_millis(300);
/// How long the door may go before the appliers. A longer rush is no rush but what has to be applied as it comes.
const LONGEST_RUSH: Duration = Duration::from_secs(30);

/// Some of a tenant's shards: bit n is shard n.
pub type Shards = u16;

const _: () = assert!(SHARDS as u32 == Shards::BITS, "a bit for each shard");

/// The door is pressed.
#[derive(Clone, Copy, Debug)]
struct Rush {
    since: Instant,
    until: Instant,
    trickled: Instant,
}

/// One strand.
pub type Strand = (TenantId, i16);

/// What an applier should do next.
#[derive(Debug)]
pub enum Task {
    /// Apply what waits here.
    Apply(Share),
    /// Search the ledger and [`Strands::add`] what is found.
    Look,
    /// Nothing for this time, whatever is added: the door goes first, or somebody at work may manage alone.
    Yield(Duration),
    /// Nothing, unless somebody adds something, or this time passes.
    Rest(Option<Duration>),
}

/// The strands of a process where something waits. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Strands(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    appliers: usize,
    at_work: usize,
    /// When the last of them began.
    began: Option<Instant>,
    looked: Option<Instant>,
    /// Somebody works at a slow strand; no second applier does.
    slow_at_work: bool,
    rush: Option<Rush>,
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants with something to deal out, in the order of their turns.
    ring: VecDeque<TenantId>,
}

#[derive(Debug, Default)]
struct Tenant {
    waiting: Shards,
    held: Shards,
    /// How many appliers hold some of them.
    holders: usize,
    /// Not to be tried before a moment.
    resting: Vec<(Shards, Instant)>,
    /// These were slow: they are tried alone, so that nobody else waits for them.
    alone: Shards,
    /// Where dealing goes on, where not all is dealt: no shard is passed over twice.
    next: i16,
}

impl Tenant {
    fn ready(&self) -> Shards {
        self.waiting & !self.held & !self.resting.iter().fold(0, |all, it| all | it.0)
    }

    /// As many of the ready shards as are half of all: what comes now and then goes to one applier at once, and of a flood the other half
    /// is left to another. The next ones in turn, because the other may not come: then they are this one's next share.
    fn half(&mut self, ready: Shards) -> Shards {
        let all = i16::from(SHARDS);
        let mut dealt: Shards = 0;
        for shard in (self.next..self.next + all).map(|it| it % all).filter(|it| ready & (1 << it) != 0) {
            dealt |= 1 << shard;
            self.next = (shard + 1) % all;
            if dealt.count_ones() * 2 >= Shards::BITS {
                break;
            }
        }
        dealt
    }
}

impl Strands {
    /// None yet, for so many appliers.
    #[must_use]
    pub fn new(appliers: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            appliers,
            at_work: 0,
            began: None,
            looked: None,
            slow_at_work: false,
            rush: None,
            tenants: HashMap::new(),
            ring: VecDeque::new(),
        })))
    }

    /// Something waits in these of a tenant's shards. Ring the bell after it.
    pub fn add(&self, tenant: TenantId, shards: Shards) {
        self.lock().add(tenant, shards);
    }

    /// Has the ledger searched at the next step, not only when it is time.
    pub fn look_again(&self) {
        self.lock().looked = None;
    }

    /// Webhooks come faster than they can be written beside the appliers' work: until then, the door goes first, unless it has for too
    /// long already. What it accepts is safe and waits; what it could not accept would be sent again, or lost.
    pub fn hold_back(&self, now: Instant, until: Instant) {
        let mut inner = self.lock();
        // A rush is over when there was peace for as long as it had lasted.
        let rush = inner.rush.filter(|it| now < it.until + (it.until - it.since));
        let rush = rush.unwrap_or(Rush { since: now, until: now, trickled: now });
        inner.rush = Some(Rush { until: rush.until.max(until.min(rush.since + LONGEST_RUSH)), ..rush });
    }

    /// What an applier should do next.
    #[must_use]
    pub fn next(&self, now: Instant) -> Task {
        let mut inner = self.lock();
        if inner.looked.is_none_or(|it| now.duration_since(it) >= LOOK_EVERY) {
            inner.looked = Some(now);
            return Task::Look;
        }
        if let Some(pause) = inner.trickle(now) {
            return Task::Yield(pause);
        }
        if let Some(pause) = inner.joins_in(now) {
            return Task::Yield(pause);
        }
        inner.wake(now);
        let slow = inner.deal_slow();
        let is_slow = slow.is_some();
        let strands = slow.map_or_else(|| inner.deal(), |it| vec![it]);
        if strands.is_empty() {
            let rested = inner.tenants.values().flat_map(|it| it.resting.iter().map(|it| it.1)).min();
            return Task::Rest(rested.map(|until| until.duration_since(now)));
        }
        inner.at_work += 1;
        inner.began = Some(now);
        let (left, of) = (strands.clone(), self.clone());
        Task::Apply(Share { strands, left, slow: Vec::new(), busy: Vec::new(), is_slow, of })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, id: TenantId, shards: Shards) {
        let tenant = self.tenants.entry(id).or_default();
        tenant.waiting |= shards;
        if tenant.waiting == 0 && tenant.held == 0 {
            self.tenants.remove(&id);
        } else if tenant.ready() != 0 && !self.ring.contains(&id) {
            self.ring.push_back(id);
        }
    }

    /// How long to wait for the door.
    fn trickle(&mut self, now: Instant) -> Option<Duration> {
        let rush = self.rush.as_mut().filter(|it| now < it.until)?;
        let turn = rush.trickled + TRICKLE;
        if now >= turn {
            rush.trickled = now;
            return None;
        }
        Some(turn.min(rush.until).duration_since(now))
    }

    /// How long to wait whether those at work manage alone.
    fn joins_in(&self, now: Instant) -> Option<Duration> {
        let joins = self.began.filter(|_| self.at_work > 0)? + JOINS_AFTER;
        (now < joins).then(|| joins.duration_since(now))
    }

    /// What has rested may be tried again.
    fn wake(&mut self, now: Instant) {
        let is_over = |it: &Tenant| it.resting.iter().any(|it| it.1 <= now);
        let rested: Vec<TenantId> = self.tenants.iter().filter(|it| is_over(it.1)).map(|it| *it.0).collect();
        for id in rested {
            if let Some(tenant) = self.tenants.get_mut(&id) {
                tenant.resting.retain(|it| it.1 > now);
            }
            self.add(id, 0);
        }
    }

    /// A strand that was slow and has rested, unless somebody is at one already.
    fn deal_slow(&mut self) -> Option<Strand> {
        if self.slow_at_work {
            return None;
        }
        let (id, tenant) = self.tenants.iter_mut().find(|it| it.1.ready() & it.1.alone != 0)?;
        let shard = each(tenant.ready() & tenant.alone).next()?;
        tenant.waiting &= !(1 << shard);
        tenant.held |= 1 << shard;
        self.slow_at_work = true;
        Some((*id, shard))
    }

    /// An even part of what is ready for one of the appliers that are free: whole tenants if there are several, else half of the only
    /// one. The last applier takes nothing of a tenant whom all others work for.
    fn deal(&mut self) -> Vec<Strand> {
        let free = (self.appliers - self.at_work).max(1);
        let most = (self.appliers - 1).max(1);
        let may = |it: &Tenant| it.holders < most && it.ready() & !it.alone != 0;
        let turns: Vec<TenantId> =
            self.ring.iter().filter(|it| self.tenants.get(it).is_some_and(may)).copied().collect();
        let is_only_one = turns.len() == 1 && free > 1;
        let mut share = Vec::new();
        for id in turns.iter().copied().take(turns.len().div_ceil(free)) {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let ready = tenant.ready() & !tenant.alone;
            let shards = if is_only_one && tenant.holders + 1 < most { tenant.half(ready) } else { ready };
            tenant.waiting &= !shards;
            tenant.held |= shards;
            tenant.holders += 1;
            let has_more = tenant.ready() != 0;
            share.extend(each(shards).map(|shard| (id, shard)));
            self.ring.retain(|it| *it != id);
            if has_more {
                self.ring.push_back(id);
            }
        }
        share
    }
}

/// Strands that one applier holds. Dropping it gives them to the others again.
#[derive(Debug)]
pub struct Share {
    /// What it is.
    pub strands: Vec<Strand>,
    /// Where something still waits; at first, everywhere.
    pub left: Vec<Strand>,
    /// What took too long, until when it rests.
    pub slow: Vec<(Strand, Instant)>,
    /// What another process holds, until when it is left alone.
    pub busy: Vec<(Strand, Instant)>,
    is_slow: bool,
    of: Strands,
}

impl Share {
    /// Items of each strand in one transaction, if that has `most`: every tenant the same part.
    #[must_use]
    pub fn quota(strands: &[Strand], tenant: TenantId, most: usize) -> usize {
        let of_tenant = strands.iter().filter(|it| it.0 == tenant).count().max(1);
        let mut tenants: Vec<_> = strands.iter().map(|it| it.0).collect();
        tenants.dedup();
        (most / tenants.len().max(1) / of_tenant).max(1)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut inner = self.of.lock();
        inner.at_work -= 1;
        inner.slow_at_work &= !self.is_slow;
        let mut tenants: Vec<TenantId> = self.strands.iter().map(|it| it.0).collect();
        tenants.dedup();
        for (id, shard) in self.strands.drain(..) {
            let tenant = inner.tenants.entry(id).or_default();
            tenant.held &= !(1 << shard);
            tenant.alone &= !(1 << shard);
        }
        for ((id, shard), until) in mem::take(&mut self.slow) {
            let tenant = inner.tenants.entry(id).or_default();
            tenant.waiting |= 1 << shard;
            tenant.alone |= 1 << shard;
            tenant.resting.push((1 << shard, until));
        }
        for ((id, shard), until) in mem::take(&mut self.busy) {
            let tenant = inner.tenants.entry(id).or_default();
            tenant.waiting |= 1 << shard;
            tenant.resting.push((1 << shard, until));
        }
        for (id, shard) in mem::take(&mut self.left) {
            inner.tenants.entry(id).or_default().waiting |= 1 << shard;
        }
        for id in tenants {
            if let Some(tenant) = inner.tenants.get_mut(&id) {
                tenant.holders -= usize::from(!self.is_slow);
            }
            // Also what came meanwhile for strands that were held.
            inner.add(id, 0);
        }
    }
}

/// The numbers of the bits that are set.
fn each(shards: Shards) -> impl Iterator<Item = i16> {
    (0..i16::from(SHARDS)).filter(move |it| shards & (1 << it) != 0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    fn strands(appliers: usize) -> (Strands, Instant) {
        let (strands, now) = (Strands::new(appliers), Instant::now());
        assert!(matches!(strands.next(now), Task::Look), "whoever starts looks first");
        (strands, now)
    }

    /// What the next applier does, if those at work take long.
    fn next(strands: &Strands, now: Instant) -> Task {
        match strands.next(now) {
            Task::Yield(pause) => next(strands, now + pause),
            task => task,
        }
    }

    #[track_caller]
    fn takes(strands: &Strands, now: Instant) -> Share {
        match next(strands, now) {
            Task::Apply(share) => share,
            other => panic!("nothing is dealt out: {other:?}"),
        }
    }

    fn tenants(share: &Share) -> Vec<u128> {
        let mut tenants: Vec<_> = share.strands.iter().map(|it| it.0.0.as_u128()).collect();
        tenants.dedup();
        tenants
    }

    #[test]
    fn tenants_are_divided_among_the_free_appliers_and_take_turns() {
        let (strands, now) = strands(3);
        (1..=5).for_each(|it| strands.add(tenant(it), 0b11));
        let (first, second, third) = (takes(&strands, now), takes(&strands, now), takes(&strands, now));
        assert_eq!((tenants(&first), tenants(&second), tenants(&third)), (vec![1, 2], vec![3, 4], vec![5]));
        assert!(matches!(next(&strands, now), Task::Rest(None)));
        drop(first);
        strands.add(tenant(6), 1);
        assert_eq!(tenants(&takes(&strands, now)), [1, 2, 6], "the only free applier takes all that is ready");
        drop((second, third));
    }

    #[test]
    fn a_flood_never_holds_the_last_applier() {
        let (strands, now) = strands(3);
        strands.add(tenant(1), Shards::MAX);
        let (one, two) = (takes(&strands, now), takes(&strands, now));
        assert_eq!((one.strands.len(), two.strands.len()), (8, 8), "two share what the only tenant has");
        strands.add(tenant(1), Shards::MAX);
        drop(one);
        let one = takes(&strands, now);
        assert!(matches!(next(&strands, now), Task::Rest(None)), "the third waits for somebody else");
        strands.add(tenant(2), 1);
        assert_eq!(tenants(&takes(&strands, now)), [2]);
        drop((one, two));
    }

    #[test]
    fn what_comes_now_and_then_is_one_share_and_no_shard_is_passed_over_twice() {
        let (strands, now) = strands(3);
        let shards = |it: &Share| it.strands.iter().map(|it| it.1).collect::<Vec<_>>();
        strands.add(tenant(1), 0b1000_0000_0001_0110);
        let mut share = takes(&strands, now);
        assert_eq!(shards(&share), [1, 2, 4, 15], "nobody else may join for a while");
        share.left.clear();
        drop(share);
        strands.add(tenant(1), Shards::MAX);
        let mut one = takes(&strands, now);
        assert_eq!(one.strands.len(), 8);
        let first = shards(&one);
        one.left.clear();
        drop(one);
        strands.add(tenant(1), Shards::MAX);
        let two = takes(&strands, now);
        assert!(shards(&two).iter().all(|it| !first.contains(it)), "{first:?} were dealt before");
    }

    #[test]
    fn every_tenant_has_the_same_part_of_a_transaction() {
        let mut share: Vec<Strand> = (0..16).map(|shard| (tenant(1), shard)).collect();
        share.push((tenant(2), 3));
        assert_eq!(Share::quota(&share, tenant(1), 500), 15);
        assert_eq!(Share::quota(&share, tenant(2), 500), 250);
        assert_eq!(Share::quota(&share, tenant(1), 1), 1, "never nothing");
    }

    #[test]
    fn a_strand_is_with_one_applier_at_a_time_and_comes_back_if_something_came_meanwhile() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 1);
        let mut share = takes(&strands, now);
        strands.add(tenant(1), 1);
        assert!(matches!(next(&strands, now), Task::Rest(None)));
        share.left.clear();
        drop(share);
        let mut share = takes(&strands, now);
        share.left.clear();
        drop(share);
        assert!(matches!(next(&strands, now), Task::Rest(None)));
        assert!(strands.lock().tenants.is_empty(), "who has nothing waiting takes no memory");
    }

    #[test]
    fn a_share_that_is_dropped_in_a_panic_is_dealt_out_again() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 0b101);
        drop(takes(&strands, now));
        assert_eq!(takes(&strands, now).strands, [(tenant(1), 0), (tenant(1), 2)]);
    }

    #[test]
    fn what_was_slow_rests_and_is_then_tried_alone() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 0b11);
        let until = now + Duration::from_millis(500);
        let mut share = takes(&strands, now);
        share.left.clear();
        share.slow.push(((tenant(1), 1), until));
        drop(share);
        assert!(matches!(next(&strands, now), Task::Rest(Some(pause)) if pause == Duration::from_millis(500)));
        strands.add(tenant(1), 0b11);
        let mut share = takes(&strands, now);
        assert_eq!(share.strands, [(tenant(1), 0)], "the others go on meanwhile");
        share.left.clear();
        drop(share);
        strands.add(tenant(1), 0b101);
        let slow = takes(&strands, until);
        assert_eq!(slow.strands, [(tenant(1), 1)]);
        assert_eq!(takes(&strands, until).strands, [(tenant(1), 0), (tenant(1), 2)]);
        drop(slow);
        assert_eq!(takes(&strands, until).strands.len(), 3, "it was not slow again");
    }

    #[test]
    fn while_the_door_is_pressed_appliers_take_one_share_now_and_then() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 0b1111);
        let ms = Duration::from_millis;
        strands.hold_back(now, now + ms(20));
        assert!(matches!(strands.next(now), Task::Yield(pause) if pause == ms(20)));
        drop(takes(&strands, now + ms(20)));
        for nth in 0..40 {
            strands.hold_back(now + ms(10 * nth), now + ms(10 * nth + 20));
        }
        let share = takes(&strands, now + ms(400));
        assert!(matches!(strands.next(now + ms(400)), Task::Yield(_)), "the other one waits");
        drop(share);
        assert!(matches!(strands.next(now + ms(401)), Task::Yield(_)), "and so does the first now");
    }

    #[test]
    fn a_rush_that_does_not_end_is_none() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 0b1111);
        let rushed = |strands: &Strands, seconds: u64| {
            let at = now + Duration::from_secs(seconds);
            strands.hold_back(at, at + Duration::from_secs(1));
            drop(strands.next(at)); // the look into the ledger
            matches!(strands.next(at), Task::Yield(_)) || matches!(strands.next(at), Task::Yield(_))
        };
        assert!((0..29).all(|second| rushed(&strands, second)));
        assert!((31..59).all(|second| !rushed(&strands, second)), "the appliers have waited long enough");
        assert!((61..89).all(|second| rushed(&strands, second)), "as long as they worked");
        // Another one.
        assert!((90 + 35..90 + 60).all(|second| rushed(&strands, second)), "the short one before it does not count");
    }

    #[test]
    fn a_second_applier_joins_when_the_first_does_not_keep_up() {
        let (strands, now) = strands(2);
        (1..=2).for_each(|it| strands.add(tenant(it), 1));
        let first = takes(&strands, now);
        assert_eq!(tenants(&first), [1]);
        assert!(matches!(strands.next(now + JOINS_AFTER / 2), Task::Yield(pause) if pause == JOINS_AFTER / 2));
        assert!(matches!(strands.next(now + JOINS_AFTER), Task::Apply(_)));
        drop(first);
        assert!(matches!(strands.next(now + JOINS_AFTER), Task::Apply(_)), "nobody is at work");
    }

    #[test]
    fn the_ledger_is_searched_now_and_then_however_much_there_is_to_do() {
        let (strands, now) = strands(2);
        strands.add(tenant(1), 1);
        drop(takes(&strands, now + LOOK_EVERY - Duration::from_millis(1)));
        assert!(matches!(strands.next(now + LOOK_EVERY), Task::Look));
        drop(takes(&strands, now + LOOK_EVERY));
        strands.look_again();
        assert!(matches!(strands.next(now + LOOK_EVERY), Task::Look));
    }
}
