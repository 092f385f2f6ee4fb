//! Cases that broke something once, as small as they could be made.

use super::case::{Act, Agent, Case, Hours, Queue, Step};

const QUEUE: Queue = Queue {
    strategy: "longest_idle",
    is_auto: false,
    priority: 5,
    offer_timeout_s: 30,
    sets_away: false,
    wrap_up_s: 0,
    sticky_minutes: 0,
    overflow: None,
    max_waiting: None,
    hours: Hours::Always,
    holds: false,
    contact_silent: None,
    agent_silent: None,
    tells: false,
};

fn agent(seats: i32, serves: &[u8]) -> Agent {
    Agent { seats, is_ready: true, serves: serves.iter().map(|it| (*it, 1)).collect() }
}

fn step(acts: &[Act]) -> Step {
    Step { pass_s: 0, acts: acts.iter().map(|it| (0, it.clone())).collect(), kill: None }
}

fn later(pass_s: i64, acts: &[Act]) -> Step {
    Step { pass_s, ..step(acts) }
}

/// Some by the first process, some by the second.
fn at_once(acts: &[(u8, Act)]) -> Step {
    Step { pass_s: 0, acts: acts.to_vec(), kill: None }
}

const STORM: [(u8, Act); 5] = [
    (1, Act::ToQueue(0, 0)),
    (0, Act::ToAgent(0, 1)),
    (0, Act::Decline(0)),
    (1, Act::Close(0, true)),
    (1, Act::Close(0, false)),
];

pub fn all() -> Vec<(&'static str, Case)> {
    let closed = Queue { hours: Hours::Never, holds: true, ..QUEUE };
    vec![
        (
            "a queue whose members were all busy filled the facts, and a free agent of another queue got nothing",
            Case {
                queues: vec![Queue { priority: 1, ..QUEUE }, QUEUE],
                agents: vec![agent(1, &[0]), agent(1, &[1])],
                steps: vec![step(&[Act::Arrive(vec![0, 1, 2], 0)]), step(&[Act::Arrive(vec![3], 1)])],
            },
        ),
        (
            "an agent's silence went along to whoever got the room next",
            Case {
                queues: vec![Queue { agent_silent: Some((1, Some(1))), ..QUEUE }],
                agents: vec![agent(1, &[0]), agent(1, &[0])],
                steps: vec![
                    step(&[Act::Arrive(vec![0], 0)]),
                    step(&[Act::Take(0, 0)]),
                    later(61, &[Act::Work]),
                    step(&[Act::Take(0, 1)]),
                ],
            },
        ),
        (
            "a contact who had been reminded lost the room once the next agent got it",
            Case {
                queues: vec![Queue { contact_silent: Some((1, Some(1))), ..QUEUE }],
                agents: vec![agent(1, &[0]), agent(1, &[0])],
                steps: vec![
                    step(&[Act::Arrive(vec![0], 0)]),
                    step(&[Act::Take(0, 0)]),
                    step(&[Act::Reply(0)]),
                    later(61, &[Act::Work]),
                    step(&[Act::Take(0, 1)]),
                ],
            },
        ),
        (
            "a contact's silence counted before the next agent got the room",
            Case {
                queues: vec![Queue { contact_silent: Some((2, None)), ..QUEUE }],
                agents: vec![agent(1, &[0]), agent(1, &[0])],
                steps: vec![
                    step(&[Act::Arrive(vec![0], 0)]),
                    step(&[Act::Take(0, 0)]),
                    step(&[Act::Reply(0)]),
                    later(61, &[Act::Take(0, 1)]),
                    later(61, &[Act::Work]),
                ],
            },
        ),
        (
            "a held room that overflowed was said to wait",
            Case {
                queues: vec![Queue { max_waiting: Some(0), overflow: Some((120, 1)), ..closed.clone() }, QUEUE],
                agents: vec![agent(1, &[0])],
                steps: vec![step(&[Act::Arrive(vec![0], 0)])],
            },
        ),
        (
            "a held room that was taken was still held",
            Case {
                queues: vec![closed],
                agents: vec![agent(1, &[0])],
                steps: vec![step(&[Act::Arrive(vec![0], 0)]), step(&[Act::Take(0, 0)])],
            },
        ),
        (
            "of three who waited for one room at once, the last one's events stood before the others' in the log",
            Case {
                queues: vec![QUEUE],
                agents: vec![agent(1, &[0]), agent(1, &[0])],
                steps: (0..50).flat_map(|_| [step(&[Act::Arrive(vec![0], 0)]), at_once(&STORM)]).collect(),
            },
        ),
    ]
}
