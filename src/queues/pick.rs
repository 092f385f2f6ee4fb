//! Who gets which room: pure, from facts to decisions. Why is told by `why`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{clock::Moment, ids::UserId};

/// How a queue chooses among free agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Who has been without anything new to do for longest.
    LongestIdle,
    /// Who has the smallest share of their seats taken.
    LeastBusy,
    /// Who was given a room longest ago.
    RoundRobin,
}

/// A room that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The room.
    pub room: Uuid,
    /// Its queue.
    pub queue: Uuid,
    /// The queue's priority, 1 first.
    pub priority: i32,
    /// Its place.
    pub place_at: Moment,
    /// How its queue chooses.
    pub strategy: Strategy,
    /// Agents who passed on it since it came into the queue, the last one last: others are asked before them.
    pub passed_by: Vec<Uuid>,
    /// They passed so recently that they are not asked at all.
    pub spares_passers: bool,
    /// The agent whom the contact had not long ago, where the queue is sticky.
    pub had: Option<Uuid>,
}

/// A ready agent.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The agent.
    pub agent: UserId,
    /// All seats.
    pub seats: i64,
    /// Seats taken by rooms that ring, are held, or are being wrapped up.
    pub taken: i64,
    /// See [`Strategy::LongestIdle`].
    pub idle_since: Moment,
    /// See [`Strategy::RoundRobin`].
    pub given_at: Option<Moment>,
    /// Queues the agent serves, with the member priority there, 1 first.
    pub queues: HashMap<Uuid, i32>,
}

/// A room and who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Index of the room.
    pub at: usize,
    /// The agent.
    pub agent: UserId,
    /// Because the contact had them before, not by the queue's strategy.
    pub is_sticky: bool,
}

/// Who gets which room, in the order of deciding. Rooms are served by queue priority, then place; nobody gets more rooms than seats.
///
/// Costs about (rooms + memberships) × log agents: each queue keeps its free agents in a heap, best first.
#[must_use]
pub fn pick(waiting: &[Waiting], mut agents: Vec<Candidate>, now: Moment) -> Vec<Picked> {
    let mut order: Vec<usize> = (0..waiting.len()).collect();
    order.sort_by_key(|&at| (waiting[at].priority, waiting[at].place_at, waiting[at].room));
    let mut lines = Lines::of(waiting, &agents);
    let mut picked = Vec::new();
    for at in order {
        let room = &waiting[at];
        let sticky = lines.find_had(room, &agents);
        let Some(best) = sticky.or_else(|| lines.take(room, &agents)) else { continue };
        let agent = &mut agents[best];
        agent.taken += 1;
        // Later than everybody who has not been given a room in this round, and in the order of giving.
        let given = now + TimeDelta::microseconds(i64::try_from(picked.len()).unwrap_or(0));
        (agent.idle_since, agent.given_at) = (given, Some(given));
        picked.push(Picked { at, agent: agent.agent, is_sticky: sticky.is_some() });
        lines.put_back(best, &agents);
    }
    picked
}

/// The free agents of each queue that has rooms. An agent who was given a room is put into all their lines anew; what was there
/// before is recognised by its age and thrown away when it comes up.
struct Lines {
    of_queue: HashMap<Uuid, Line>,
    /// How often an agent has been put back, by index.
    ages: Vec<u32>,
    /// Their indexes.
    of_agent: HashMap<Uuid, usize>,
}

struct Line {
    strategy: Strategy,
    /// Rank, index of the agent, age.
    best_first: BinaryHeap<Reverse<(Rank, usize, u32)>>,
}

impl Lines {
    fn of(waiting: &[Waiting], agents: &[Candidate]) -> Self {
        let line = |strategy| Line { strategy, best_first: BinaryHeap::new() };
        let of_queue = waiting.iter().map(|it| (it.queue, line(it.strategy))).collect();
        let of_agent = agents.iter().enumerate().map(|(at, it)| (it.agent.0, at)).collect();
        let mut lines = Self { of_queue, ages: vec![0; agents.len()], of_agent };
        (0..agents.len()).for_each(|at| lines.stand(at, agents));
        lines
    }

    fn stand(&mut self, at: usize, agents: &[Candidate]) {
        let (agent, age) = (&agents[at], self.ages[at]);
        if agent.taken >= agent.seats {
            return;
        }
        for (queue, member) in &agent.queues {
            if let Some(line) = self.of_queue.get_mut(queue) {
                line.best_first.push(Reverse((rank(agent, *member, line.strategy), at, age)));
            }
        }
    }

    fn put_back(&mut self, at: usize, agents: &[Candidate]) {
        self.ages[at] += 1;
        self.stand(at, agents);
    }

    /// The agent whom the contact had, if free now and of the queue.
    fn find_had(&self, room: &Waiting, agents: &[Candidate]) -> Option<usize> {
        let at = room.had.filter(|it| !room.passed_by.contains(it)).and_then(|it| self.of_agent.get(&it)).copied()?;
        let agent = &agents[at];
        (agent.taken < agent.seats && agent.queues.contains_key(&room.queue)).then_some(at)
    }

    /// Takes the best agent who did not pass on the room out of its line; else, once they may be asked again, who passed longest ago.
    fn take(&mut self, room: &Waiting, agents: &[Candidate]) -> Option<usize> {
        let line = self.of_queue.get_mut(&room.queue)?;
        let mut passed = Vec::new();
        let found = loop {
            let Some(Reverse(entry)) = line.best_first.pop() else { break None };
            let (_, at, age) = entry;
            if age != self.ages[at] {
                continue;
            }
            if !room.passed_by.contains(&agents[at].agent.0) {
                break Some(at);
            }
            passed.push(Reverse(entry));
        };
        let longest_ago = || {
            let place = |at: usize| room.passed_by.iter().position(|it| *it == agents[at].agent.0);
            passed.iter().map(|Reverse((_, at, _))| *at).min_by_key(|at| place(*at))
        };
        let found = found.or_else(|| if room.spares_passers { None } else { longest_ago() });
        line.best_first.extend(passed);
        found
    }
}

type Rank = (i32, i64, Moment, UserId);

fn rank(agent: &Candidate, member: i32, strategy: Strategy) -> Rank {
    // Share of seats taken in parts per million, so that shares compare as whole numbers.
    let share = agent.taken * 1_000_000 / agent.seats.max(1);
    match strategy {
        Strategy::LongestIdle => (member, 0, agent.idle_since, agent.agent),
        Strategy::LeastBusy => (member, share, agent.idle_since, agent.agent),
        Strategy::RoundRobin => (member, 0, agent.given_at.unwrap_or(Moment::UNIX_EPOCH), agent.agent),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{arbitrary::any, collection, option, prop_assert_eq, proptest, strategy::Strategy as Any};

    use super::*;

    const QUEUE: Uuid = Uuid::from_u128(7);

    fn minute(minute: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn agent(id: u128, seats: i64, taken: i64, idle_since: i64) -> Candidate {
        let queues = HashMap::from([(QUEUE, 1)]);
        Candidate {
            agent: UserId(Uuid::from_u128(id)),
            seats,
            taken,
            idle_since: minute(idle_since),
            given_at: None,
            queues,
        }
    }

    fn room(id: u128, place: i64) -> Waiting {
        let strategy = Strategy::LongestIdle;
        Waiting {
            room: Uuid::from_u128(id),
            queue: QUEUE,
            priority: 5,
            place_at: minute(place),
            strategy,
            passed_by: Vec::new(),
            spares_passers: true,
            had: None,
        }
    }

    #[track_caller]
    fn check(waiting: &[Waiting], agents: Vec<Candidate>, expected: &[(u128, u128)]) {
        let pairs = pick(waiting, agents, minute(100));
        let pairs: Vec<_> = pairs.into_iter().map(|it| (waiting[it.at].room.as_u128(), it.agent.0.as_u128())).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn the_oldest_room_goes_to_the_longest_idle_agent_with_a_free_seat() {
        check(&[room(1, 5), room(2, 3)], vec![agent(10, 1, 0, 9), agent(11, 1, 0, 8)], &[(2, 11), (1, 10)]);
        check(&[room(1, 5)], vec![agent(10, 2, 2, 1), agent(11, 2, 1, 8)], &[(1, 11)]);
        check(&[room(1, 5)], vec![agent(10, 0, 0, 1)], &[]);
        check(&[room(1, 1), room(2, 2), room(3, 3)], vec![agent(10, 2, 0, 1)], &[(1, 10), (2, 10)]);
        check(&[room(1, 1), room(2, 2)], vec![agent(10, 4, 0, 1), agent(11, 4, 0, 2)], &[(1, 10), (2, 11)]);
    }

    #[test]
    fn priorities_come_first() {
        let mut urgent = room(2, 9);
        urgent.priority = 1;
        check(&[room(1, 5), urgent], vec![agent(10, 1, 0, 1)], &[(2, 10)]);
        let mut second = agent(10, 1, 0, 1);
        second.queues.insert(QUEUE, 2);
        check(&[room(1, 5)], vec![second, agent(11, 1, 0, 9)], &[(1, 11)]);
    }

    #[test]
    fn who_passed_is_left_out_and_strangers_get_nothing() {
        let mut passed = room(1, 5);
        passed.passed_by = vec![Uuid::from_u128(10)];
        check(&[passed.clone()], vec![agent(10, 1, 0, 1)], &[]);
        check(&[passed], vec![agent(10, 1, 0, 1), agent(11, 1, 0, 9)], &[(1, 11)]);
        let mut stale = room(1, 5);
        (stale.passed_by, stale.spares_passers) = ([11, 10].map(Uuid::from_u128).to_vec(), false);
        check(&[stale.clone()], vec![agent(10, 1, 0, 1), agent(11, 1, 0, 9), agent(12, 1, 0, 20)], &[(1, 12)]);
        check(&[stale], vec![agent(10, 1, 0, 1), agent(11, 1, 0, 9)], &[(1, 11)]);
        let mut stranger = agent(10, 1, 0, 1);
        stranger.queues.clear();
        check(&[room(1, 5)], vec![stranger], &[]);
    }

    #[test]
    fn a_contact_gets_the_agent_they_had_or_anybody_at_once() {
        let mut back = room(1, 5);
        back.had = Some(Uuid::from_u128(11));
        check(&[back.clone()], vec![agent(10, 1, 0, 1), agent(11, 1, 0, 9)], &[(1, 11)]);
        check(&[back.clone()], vec![agent(10, 1, 0, 1), agent(11, 1, 1, 9)], &[(1, 10)]);
        check(&[back.clone()], vec![agent(10, 1, 0, 1)], &[(1, 10)]);
        let mut moved = agent(11, 1, 0, 9);
        moved.queues.clear();
        check(&[back.clone()], vec![agent(10, 1, 0, 1), moved], &[(1, 10)]);
        check(&[back.clone(), room(2, 6)], vec![agent(10, 2, 0, 10), agent(11, 1, 0, 9)], &[(1, 11), (2, 10)]);
        back.passed_by = vec![Uuid::from_u128(11)];
        check(&[back], vec![agent(10, 1, 0, 1), agent(11, 1, 0, 9)], &[(1, 10)]);
    }

    #[test]
    fn strategies_differ() {
        let mut busy = room(1, 5);
        busy.strategy = Strategy::LeastBusy;
        check(&[busy], vec![agent(10, 4, 2, 1), agent(11, 4, 1, 9)], &[(1, 11)]);
        let mut round = room(1, 5);
        round.strategy = Strategy::RoundRobin;
        let mut recent = agent(10, 4, 0, 1);
        recent.given_at = Some(minute(50));
        check(&[round], vec![recent, agent(11, 4, 3, 9)], &[(1, 11)]);
    }

    /// The same decision as one would write it down first: look at everybody for every room.
    fn plain(waiting: &[Waiting], mut agents: Vec<Candidate>, now: Moment) -> Vec<Picked> {
        let mut order: Vec<usize> = (0..waiting.len()).collect();
        order.sort_by_key(|&at| (waiting[at].priority, waiting[at].place_at, waiting[at].room));
        let mut picked = Vec::new();
        for at in order {
            let room = &waiting[at];
            let passed = |it: &Candidate| room.passed_by.iter().position(|passer| *passer == it.agent.0);
            let fits = |it: &&mut Candidate| {
                it.taken < it.seats
                    && it.queues.contains_key(&room.queue)
                    && !(room.spares_passers && passed(it).is_some())
            };
            let best = agents.iter_mut().filter(fits).min_by_key(|it| {
                let is_sticky = room.had == Some(it.agent.0) && passed(it).is_none();
                (!is_sticky, passed(it), rank(it, it.queues[&room.queue], room.strategy))
            });
            let Some(best) = best else { continue };
            best.taken += 1;
            let given = now + TimeDelta::microseconds(picked.len() as i64);
            (best.idle_since, best.given_at) = (given, Some(given));
            let is_sticky = room.had == Some(best.agent.0) && passed(best).is_none();
            picked.push(Picked { at, agent: best.agent, is_sticky });
        }
        picked
    }

    fn any_agent() -> impl Any<Value = Candidate> {
        let queues = collection::hash_map((0..4u128).prop_map(Uuid::from_u128), 1..3i32, 0..4);
        (0..4i64, 0..4i64, 0..6i64, option::of(0..6i64), queues).prop_map(|(seats, taken, idle, given, queues)| {
            Candidate {
                agent: UserId(Uuid::nil()),
                seats,
                taken,
                idle_since: minute(idle),
                given_at: given.map(minute),
                queues,
            }
        })
    }

    fn any_room() -> impl Any<Value = Waiting> {
        let passed = collection::vec(0..12u128, 0..4);
        let facts = (0..4u128, 0..9i64, passed, any::<bool>(), option::of(0..12u128));
        facts.prop_map(|(queue, place, passed, spares_passers, had)| Waiting {
            room: Uuid::nil(),
            queue: Uuid::from_u128(queue),
            priority: i32::try_from(queue % 3).unwrap(),
            place_at: minute(place),
            strategy: [Strategy::LongestIdle, Strategy::LeastBusy, Strategy::RoundRobin][queue as usize % 3],
            passed_by: passed.into_iter().map(Uuid::from_u128).collect(),
            spares_passers,
            had: had.map(Uuid::from_u128),
        })
    }

    proptest! {
        #[test]
        fn heaps_decide_as_plain_looking_would(
            mut rooms in collection::vec(any_room(), 0..24),
            mut agents in collection::vec(any_agent(), 0..12),
        ) {
            rooms.iter_mut().zip(100..).for_each(|(it, id)| it.room = Uuid::from_u128(id));
            agents.iter_mut().zip(0..).for_each(|(it, id)| it.agent = UserId(Uuid::from_u128(id)));
            prop_assert_eq!(pick(&rooms, agents.clone(), minute(9)), plain(&rooms, agents, minute(9)));
        }
    }
}
