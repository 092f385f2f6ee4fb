//! Why an agent gets a room: pure, from the facts and the decisions of a round to the grounds that are kept with each decision.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pick::{Candidate, Picked, Waiting};
use crate::{clock::Moment, words};

/// Skipped agents that are named with a decision, so that its size is bounded; the others are counted.
pub const MOST_SKIPPED: usize = 5;

words! {
    /// Why an agent was not asked.
    pub enum SkippedFor {
        /// All seats are taken.
        AtLimit = "at_limit",
        /// Declined the room, or let its offer lapse.
        Passed = "passed",
        /// Is away.
        Away = "away",
        /// Is offline.
        Offline = "offline",
    }
}

/// An agent of the queue who was not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Who.
    pub agent: Uuid,
    /// Why.
    pub why: SkippedFor,
    /// Since when they are away or offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// Their seats, where all are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<i64>,
}

/// What was known of the agent who got the room, and of those who did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// All seats of the agent.
    pub seats: i64,
    /// Those taken before this room.
    pub taken: i64,
    /// Seconds without anything new to do.
    pub idle_s: i64,
    /// The agent's priority in the queue, 1 first.
    pub level: i32,
    /// Others who had a free seat, too, and come later.
    pub also_free: usize,
    /// Who was not asked, and why; at most [`MOST_SKIPPED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How many more were not asked.
    #[serde(default)]
    pub more_skipped: usize,
}

/// Members of a queue who cannot be asked at all: the first few, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Unavailable {
    /// Busy ones first, then away, then offline.
    pub first: Vec<Skipped>,
    /// All of them.
    pub count: usize,
}

/// The grounds of each decision, in the order of deciding. `agents` are the candidates as they were before the round.
#[must_use]
pub fn explain(
    picked: &[Picked],
    waiting: &[Waiting],
    mut agents: Vec<Candidate>,
    unavailable: &HashMap<Uuid, Unavailable>,
    now: Moment,
) -> Vec<Grounds> {
    let of_agent: HashMap<Uuid, usize> = agents.iter().enumerate().map(|(at, it)| (it.agent.0, at)).collect();
    let mut of_queue: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for (at, agent) in agents.iter().enumerate() {
        agent.queues.keys().for_each(|queue| of_queue.entry(*queue).or_default().push(at));
    }
    let nobody = Unavailable::default();
    let mut grounds = Vec::with_capacity(picked.len());
    for it in picked {
        let room = &waiting[it.at];
        let chosen = of_agent[&it.agent.0];
        let agent = &agents[chosen];
        let mut of_room = Grounds {
            seats: agent.seats,
            taken: agent.taken,
            idle_s: (now - agent.idle_since).num_seconds().max(0),
            level: agent.queues.get(&room.queue).copied().unwrap_or_default(),
            ..Grounds::default()
        };
        let absent = unavailable.get(&room.queue).unwrap_or(&nobody);
        let mut skipped = 0;
        for at in of_queue.get(&room.queue).into_iter().flatten().filter(|at| **at != chosen) {
            let other = &agents[*at];
            let passed = room.passed_by.contains(&other.agent.0);
            if other.taken < other.seats && !passed {
                of_room.also_free += 1;
                continue;
            }
            skipped += 1;
            if of_room.skipped.len() < MOST_SKIPPED {
                let why = if passed { SkippedFor::Passed } else { SkippedFor::AtLimit };
                let seats = (!passed).then_some(other.seats);
                of_room.skipped.push(Skipped { agent: other.agent.0, why, since: None, seats });
            }
        }
        let left = MOST_SKIPPED - of_room.skipped.len();
        of_room.skipped.extend(absent.first.iter().take(left).cloned());
        of_room.more_skipped = (skipped + absent.count).saturating_sub(of_room.skipped.len());
        grounds.push(of_room);
        let agent = &mut agents[chosen];
        (agent.taken, agent.idle_since) = (agent.taken + 1, now);
    }
    grounds
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        ids::UserId,
        queues::pick::{Strategy, pick},
    };

    const QUEUE: Uuid = Uuid::from_u128(7);

    fn second(second: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn agent(id: u128, seats: i64, taken: i64, idle_since: i64) -> Candidate {
        Candidate {
            agent: UserId(Uuid::from_u128(id)),
            seats,
            taken,
            idle_since: second(idle_since),
            given_at: None,
            queues: HashMap::from([(QUEUE, 1)]),
        }
    }

    fn room(id: u128, passed_by: &[u128]) -> Waiting {
        Waiting {
            room: Uuid::from_u128(id),
            queue: QUEUE,
            priority: 5,
            place_at: second(i64::try_from(id).unwrap()),
            strategy: Strategy::LongestIdle,
            passed_by: passed_by.iter().copied().map(Uuid::from_u128).collect(),
            spares_passers: true,
            had: None,
        }
    }

    #[test]
    fn every_decision_has_its_grounds_as_they_were_at_that_moment() {
        let agents = vec![agent(10, 1, 0, 7), agent(11, 4, 2, 8), agent(12, 1, 0, 1)];
        let waiting = [room(1, &[12]), room(2, &[12]), room(3, &[12])];
        let picked = pick(&waiting, agents.clone(), second(100));
        let away = Skipped { agent: Uuid::from_u128(13), why: SkippedFor::Away, since: Some(second(50)), seats: None };
        let absent = HashMap::from([(QUEUE, Unavailable { first: vec![away], count: 9 })]);
        let grounds = explain(&picked, &waiting, agents, &absent, second(100));
        let shown: Vec<_> =
            grounds.iter().map(|it| (it.seats, it.taken, it.idle_s, it.also_free, it.more_skipped)).collect();
        assert_eq!(shown, [(1, 0, 93, 1, 8), (4, 2, 92, 0, 8), (4, 3, 0, 0, 8)]);
        let whys = |at: usize| grounds[at].skipped.iter().map(|it| (it.agent.as_u128(), it.why)).collect::<Vec<_>>();
        assert_eq!(whys(0), [(12, SkippedFor::Passed), (13, SkippedFor::Away)]);
        assert_eq!(whys(1), [(10, SkippedFor::AtLimit), (12, SkippedFor::Passed), (13, SkippedFor::Away)]);
    }

    #[test]
    fn the_list_of_the_skipped_is_bounded() {
        let agents: Vec<_> = (10..200).map(|id| agent(id, 1, i64::from(id != 10), 1)).collect();
        let waiting = [room(1, &[])];
        let picked = pick(&waiting, agents.clone(), second(100));
        let grounds = explain(&picked, &waiting, agents, &HashMap::new(), second(100));
        assert_eq!((grounds[0].skipped.len(), grounds[0].more_skipped), (MOST_SKIPPED, 184));
    }
}
