//! What can happen in a contact centre, as data: made at random, made smaller when something breaks, kept when it did.

use proptest::{collection::vec, option, prelude::*, sample::select};

/// A centre and what happens in it.
#[derive(Clone, Debug)]
pub struct Case {
    pub queues: Vec<Queue>,
    pub agents: Vec<Agent>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Queue {
    pub strategy: &'static str,
    pub is_auto: bool,
    pub priority: i32,
    pub offer_timeout_s: i32,
    pub sets_away: bool,
    pub wrap_up_s: i32,
}

#[derive(Clone, Debug)]
pub struct Agent {
    pub seats: i32,
    pub is_ready: bool,
    /// Queue (counted round) and member priority.
    pub serves: Vec<(u8, i32)>,
}

/// Things that happen at the same moment, each in one of the processes; then time passes and everything settles.
#[derive(Clone, Debug)]
pub struct Step {
    pub acts: Vec<(u8, Act)>,
    /// This process is killed so many microseconds after the acts begin.
    pub kill: Option<(u8, u64)>,
    pub pass_s: i64,
}

/// Rooms, agents, queues and contacts are counted round: 5 is the second of four.
#[derive(Clone, Debug)]
pub enum Act {
    /// Contacts write, all in one batch: into their open rooms, or into new ones of this queue.
    Arrive(Vec<u8>, u8),
    /// Whoever the room is offered to accepts.
    Accept(u8),
    Decline(u8),
    /// An agent accepts a room, whether or not it is theirs.
    Grab(u8, u8),
    ToQueue(u8, u8),
    ToAgent(u8, u8),
    Take(u8, u8),
    /// By its agent, or by a supervisor.
    Close(u8, bool),
    Status(u8, &'static str),
    /// The agent's stream is open now.
    Stream(u8),
    /// The worker takes a step while the rest happens.
    Assign,
    /// The admin changes an agent's seats.
    Seats(u8, i32),
    /// The admin takes an agent out of a queue, or puts them in with this priority.
    Member(u8, u8, Option<i32>),
}

impl Act {
    /// Changes of settings are made between the others, so that what must hold is clear.
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::Seats(..) | Self::Member(..))
    }
}

fn any_queue() -> impl Strategy<Value = Queue> {
    let strategy = select(vec!["longest_idle", "least_busy", "round_robin"]);
    (
        strategy,
        prop::bool::weighted(0.2),
        4..7i32,
        select(vec![10, 30, 60]),
        prop::bool::weighted(0.3),
        select(vec![0, 0, 20]),
    )
        .prop_map(|(strategy, is_auto, priority, offer_timeout_s, sets_away, wrap_up_s)| Queue {
            strategy,
            is_auto,
            priority,
            offer_timeout_s,
            sets_away,
            wrap_up_s,
        })
}

fn any_agent() -> impl Strategy<Value = Agent> {
    let serves = vec((any::<u8>(), 1..3i32), 0..4);
    (0..4i32, prop::bool::weighted(0.7), serves).prop_map(|(seats, is_ready, serves)| Agent { seats, is_ready, serves })
}

fn any_act() -> impl Strategy<Value = Act> {
    let it = any::<u8>;
    prop_oneof![
        8 => (vec(0..12u8, 1..4), it()).prop_map(|(contacts, queue)| Act::Arrive(contacts, queue)),
        8 => it().prop_map(Act::Accept),
        4 => it().prop_map(Act::Decline),
        2 => (it(), it()).prop_map(|(room, agent)| Act::Grab(room, agent)),
        3 => (it(), it()).prop_map(|(room, queue)| Act::ToQueue(room, queue)),
        3 => (it(), it()).prop_map(|(room, agent)| Act::ToAgent(room, agent)),
        3 => (it(), it()).prop_map(|(room, agent)| Act::Take(room, agent)),
        6 => (it(), any::<bool>()).prop_map(|(room, by_agent)| Act::Close(room, by_agent)),
        5 => (it(), select(vec!["ready", "ready", "away", "offline"])).prop_map(|(agent, status)| Act::Status(agent, status)),
        1 => it().prop_map(Act::Stream),
        4 => Just(Act::Assign),
        1 => (it(), 0..4i32).prop_map(|(agent, seats)| Act::Seats(agent, seats)),
        1 => (it(), it(), option::of(1..3i32)).prop_map(|(agent, queue, member)| Act::Member(agent, queue, member)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let acts = vec((0..2u8, any_act()), 1..6);
    let kill = option::weighted(0.15, (0..2u8, 0..8000u64));
    let pass_s = prop_oneof![6 => Just(0i64), 2 => 1..12i64, 2 => 12..40i64, 1 => 40..70i64, 1 => Just(700i64)];
    (acts, kill, pass_s).prop_map(|(acts, kill, pass_s)| Step { acts, kill, pass_s })
}

/// Any centre, with so many steps at most.
pub fn any_case(steps: usize) -> impl Strategy<Value = Case> {
    (vec(any_queue(), 1..4), vec(any_agent(), 1..6), vec(any_step(), steps / 2..=steps))
        .prop_map(|(queues, agents, steps)| Case { queues, agents, steps })
}
