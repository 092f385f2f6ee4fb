//! Who is next at the writer. Webhooks are written in the order in which they came, but nobody's flood stands before everybody else:
//! as long as others come, too, it gets a small part of each write, so that writes stay short. A sender of whom something is being written
//! waits for the end of that write: two at one time would hold each other's room.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Items in one write; a webhook with more is still written whole.
const MOST_ITEMS: usize = 1000;
/// Items that anybody may have in a write, whatever others do.
const FEW: usize = 16;
/// And for each item of everybody else.
const FOR_EACH_OTHER: usize = 4;
/// How long somebody counts as coming.
const LATELY: Duration = Duration::from_secs(1);

/// Something that waits to be written.
pub(super) trait Waits {
    /// Whose it is.
    fn whose(&self) -> &str;
    /// How many items it has.
    fn items(&self) -> usize;
    /// Who wrote them, as hashes: two that are equal by chance only wait for each other.
    fn senders(&self) -> &[u64];
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<T>,
    who: HashMap<String, Who>,
    /// Those who wanted more of the last write than their part.
    flooding: HashSet<String>,
    /// Senders of whom something is being written.
    busy: HashSet<u64>,
}

/// What is known of somebody.
#[derive(Debug)]
struct Who {
    /// When they were last here.
    seen: Instant,
    /// How many items of theirs wait.
    items: usize,
}

impl<T: Waits> Line<T> {
    /// Nobody.
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), who: HashMap::new(), flooding: HashSet::new(), busy: HashSet::new() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Who has waited longest.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.front()
    }

    /// At the end of the line.
    pub(super) fn push(&mut self, it: T, now: Instant) {
        match self.who.get_mut(it.whose()) {
            Some(who) => *who = Who { seen: now, items: who.items + it.items() },
            None => drop(self.who.insert(it.whose().to_owned(), Who { seen: now, items: it.items() })),
        }
        self.waiting.push_back(it);
    }

    /// Whether somebody floods, and whether nobody else waits.
    pub(super) fn floods(&self) -> (bool, bool) {
        // Asked at each arrival; most of the time nobody floods.
        if self.flooding.is_empty() {
            return (false, self.waiting.is_empty());
        }
        (true, self.who.iter().all(|(whose, it)| it.items == 0 || self.flooding.contains(whose)))
    }

    /// How many items would be written next, at most.
    pub(super) fn fits(&self, now: Instant) -> usize {
        let all = self.who.values().map(|it| it.items).sum();
        match self.is_alone(now) {
            true => all,
            false => self.who.values().map(|it| most(all, it.items).min(it.items)).sum(),
        }
    }

    /// Whether only one comes at this time.
    fn is_alone(&self, now: Instant) -> bool {
        self.who.values().filter(|it| it.items > 0 || now.duration_since(it.seen) < LATELY).count() < 2
    }

    /// What is written next: at least the first, if nothing of its senders is being written and, should it be a flood's, `floods_too`.
    /// What anybody has stays in its order.
    pub(super) fn take(&mut self, now: Instant, floods_too: bool) -> Vec<T> {
        self.who.retain(|_, it| it.items > 0 || now.duration_since(it.seen) < LATELY);
        let is_alone = self.who.len() < 2;
        let all = self.who.values().map(|it| it.items).sum();
        let most: HashMap<&str, usize> = self
            .who
            .iter()
            .map(|(whose, it)| (&**whose, if is_alone { usize::MAX } else { most(all, it.items) }))
            .collect();
        let (mut given, mut done, mut items): (HashMap<String, usize>, HashSet<String>, usize) = Default::default();
        let (mut late, mut flooding) = (self.busy.clone(), HashSet::new());
        if floods_too {
            self.flooding.clear();
        }
        let (mut taken, mut left) = (Vec::new(), VecDeque::with_capacity(self.waiting.len()));
        for it in self.waiting.drain(..) {
            let whose = it.whose();
            if self.flooding.contains(whose) {
                left.push_back(it);
                continue;
            }
            if it.senders().iter().any(|sender| late.contains(sender)) {
                late.extend(it.senders());
                left.push_back(it);
                continue;
            }
            let has = given.get(whose).copied().unwrap_or(0);
            let floods = has > 0 && has + it.items() > most[whose];
            if floods {
                flooding.insert(whose.to_owned());
            }
            if floods || done.contains(whose) || (!taken.is_empty() && items + it.items() > MOST_ITEMS) {
                done.insert(whose.to_owned());
                left.push_back(it);
                continue;
            }
            items += it.items();
            given.insert(whose.to_owned(), has + it.items());
            self.busy.extend(it.senders());
            taken.push(it);
        }
        self.waiting = left;
        self.flooding.extend(flooding);
        for (whose, items) in given {
            self.who.entry(whose).and_modify(|it| it.items -= items);
        }
        taken
    }

    /// Nothing of these is being written any more.
    pub(super) fn written(&mut self, senders: &[u64]) {
        for it in senders {
            self.busy.remove(it);
        }
    }
}

/// Items that somebody may have in a write who wants so many of all.
fn most(all: usize, wanted: usize) -> usize {
    FEW.max(FOR_EACH_OTHER * (all - wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Job(&'static str, usize, usize, Vec<u64>);

    impl Waits for Job {
        fn whose(&self) -> &str {
            self.0
        }

        fn items(&self) -> usize {
            self.1
        }

        fn senders(&self) -> &[u64] {
            &self.3
        }
    }

    /// A line of so many webhooks of so many items each, numbered.
    fn line(now: Instant, of: &[(&'static str, usize, usize)]) -> Line<Job> {
        let mut line = Line::new();
        let jobs = of.iter().flat_map(|(whose, number, items)| (0..*number).map(|_| (*whose, *items)));
        jobs.enumerate().for_each(|(nth, (whose, items))| line.push(Job(whose, items, nth, Vec::new()), now));
        line
    }

    fn of(taken: &[Job], whose: &str) -> usize {
        taken.iter().filter(|it| it.0 == whose).map(|it| it.1).sum()
    }

    #[test]
    fn whoever_is_alone_gets_all_there_is() {
        let now = Instant::now();
        let mut alone = line(now, &[("a", 1500, 1)]);
        assert_eq!((alone.take(now, true).len(), alone.take(now, true).len(), alone.len()), (1000, 500, 0));
        let mut large = line(now, &[("a", 2, 5000)]);
        assert_eq!((large.take(now, true).len(), large.take(now, true).len()), (1, 1), "whole, one after the other");
    }

    #[test]
    fn a_flood_gets_little_while_others_come_and_they_get_all_they_want() {
        let now = Instant::now();
        let mut line = line(now, &[("flood", 300, 1), ("b", 3, 1), ("c", 1, 2)]);
        assert_eq!(line.fits(now), 25);
        let taken = line.take(now, true);
        assert_eq!((of(&taken, "flood"), of(&taken, "b"), of(&taken, "c")), (20, 3, 2));
        assert!(taken.iter().filter(|it| it.0 == "flood").map(|it| it.2).eq(0..20), "in its order");
        // Somebody may come at any moment.
        assert_eq!(line.take(now + LATELY / 2, true).len(), FEW);
        assert_eq!(line.take(now + LATELY, true).len(), 300 - 20 - FEW);
    }

    #[test]
    fn a_large_webhook_of_a_flood_holds_back_what_is_behind_it() {
        let now = Instant::now();
        let mut line = line(now, &[("flood", 1, 10), ("flood", 1, 40), ("flood", 5, 1), ("b", 1, 1)]);
        let taken = line.take(now, true);
        assert_eq!((of(&taken, "flood"), of(&taken, "b")), (10, 1));
        assert_eq!(of(&line.take(now, true), "flood"), 40, "the first is taken whatever its size");
        assert_eq!(line.len(), 5);
    }

    #[test]
    fn those_who_want_the_same_get_it() {
        let now = Instant::now();
        let mut line = line(now, &[("a", 100, 1), ("b", 100, 1)]);
        assert_eq!(line.take(now, true).len(), 200);
    }

    #[test]
    fn a_sender_is_in_one_write_at_a_time() {
        let now = Instant::now();
        let mut line = Line::new();
        let numbers = |taken: Vec<Job>| taken.iter().map(|it| it.2).collect::<Vec<_>>();
        let senders: [&[u64]; 6] = [&[1], &[1, 2], &[3], &[], &[2], &[3]];
        line.push(Job("a", 1, 0, vec![1]), now);
        assert_eq!(numbers(line.take(now, true)), [0]);
        senders.iter().enumerate().for_each(|(nth, it)| line.push(Job("a", it.len(), 1 + nth, it.to_vec()), now));
        assert_eq!(
            numbers(line.take(now, true)),
            [3, 4, 6],
            "the fifth stays behind the second, with which it shares a sender"
        );
        assert!(line.take(now, true).is_empty());
        line.written(&[1]);
        assert_eq!(numbers(line.take(now, true)), [1, 2, 5]);
        line.written(&[1, 2, 3]);
        assert_eq!((line.len(), line.busy.len()), (0, 0));
    }

    #[test]
    fn others_do_not_wait_for_the_turn_of_a_flood() {
        let now = Instant::now();
        let mut line = line(now, &[("flood", 100, 1), ("b", 1, 1)]);
        assert_eq!(line.floods(), (false, false), "nobody knows yet");
        let taken = line.take(now, true);
        assert_eq!((of(&taken, "flood"), of(&taken, "b")), (FEW, 1));
        assert_eq!(line.floods(), (true, true));
        assert!(line.take(now, false).is_empty());
        line.push(Job("b", 1, 101, Vec::new()), now);
        assert_eq!(line.floods(), (true, false));
        let taken = line.take(now, false);
        assert_eq!((of(&taken, "flood"), of(&taken, "b")), (0, 1));
        assert_eq!(line.floods(), (true, true), "it still is one");
        (0..5).for_each(|_| assert_eq!(line.take(now, true).len(), FEW));
        assert_eq!((line.take(now, true).len(), line.floods()), (4, (false, true)), "no more than its part");
        // Alone, nobody is one.
        (0..1500).for_each(|nth| line.push(Job("b", 1, nth, Vec::new()), now + LATELY));
        assert_eq!((line.take(now + LATELY, true).len(), line.floods()), (MOST_ITEMS, (false, false)));
    }

    #[test]
    fn an_empty_webhook_may_have_waited_for_long() {
        let now = Instant::now();
        for floods_too in [false, true] {
            let mut line = line(now, &[("a", 1, 0), ("b", 1, 0), ("b", 1, 1)]);
            assert_eq!(line.take(now + 2 * LATELY, floods_too).len(), 3);
        }
    }
}
