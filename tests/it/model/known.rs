//! Cases that broke something once, as small as they could be made.

use super::case::{Act, Agent, Case, Queue, Step};

const QUEUE: Queue = Queue {
    strategy: "longest_idle",
    is_auto: false,
    priority: 5,
    offer_timeout_s: 30,
    sets_away: false,
    wrap_up_s: 0,
};

fn agent(seats: i32, serves: &[u8]) -> Agent {
    Agent { seats, is_ready: true, serves: serves.iter().map(|it| (*it, 1)).collect() }
}

fn step(acts: &[Act]) -> Step {
    Step { acts: acts.iter().map(|it| (0, it.clone())).collect(), kill: None, pass_s: 0 }
}

pub fn all() -> Vec<(&'static str, Case)> {
    vec![(
        "a queue whose members were all busy filled the facts, and a free agent of another queue got nothing",
        Case {
            queues: vec![Queue { priority: 1, ..QUEUE }, QUEUE],
            agents: vec![agent(1, &[0]), agent(1, &[1])],
            steps: vec![step(&[Act::Arrive(vec![0, 1, 2], 0)]), step(&[Act::Arrive(vec![3], 1)])],
        },
    )]
}
