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
    pub sticky_minutes: i32,
    /// Seconds, and the queue (counted round; itself: none).
    pub overflow: Option<(i32, u8)>,
    pub max_waiting: Option<i32>,
    pub hours: Hours,
    /// Holds what comes while closed.
    pub holds: bool,
    /// Minutes until the contact is reminded, and until the room ends.
    pub contact_silent: Option<(i32, Option<i32>)>,
    /// Minutes until the agent is flagged, and until the room goes back.
    pub agent_silent: Option<(i32, Option<i32>)>,
    /// Says something to those who wait.
    pub tells: bool,
}

/// When a queue's own widget is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hours {
    Always,
    Never,
    /// The first half of each hour.
    Halves,
}

#[derive(Clone, Debug)]
pub struct Agent {
    pub seats: i32,
    pub is_ready: bool,
    /// Queue (counted round) and member priority.
    pub serves: Vec<(u8, i32)>,
}

/// Time passes; then things happen at the same moment, each in one of the processes; then everything settles.
#[derive(Clone, Debug)]
pub struct Step {
    pub pass_s: i64,
    pub acts: Vec<(u8, Act)>,
    pub kill: Option<Kill>,
}

/// So many microseconds after the acts begin.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub after: u64,
    /// This one, or all of them; then they are started anew.
    pub process: Option<u8>,
}

/// Rooms, agents, queues and contacts are counted round: 5 is the second of four.
#[derive(Clone, Debug)]
pub enum Act {
    /// Contacts of a queue's own widget write, all in one batch: into their open rooms, or into new ones.
    Arrive(Vec<u8>, u8),
    /// Whoever the room is offered to accepts.
    Accept(u8),
    Decline(u8),
    /// Whoever holds the room replies.
    Reply(u8),
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
    /// The workers take a step while the rest happens.
    Work,
    /// The admin changes the hours of a queue's own widget.
    Hours(u8, Hours),
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

impl Case {
    /// The case without its so-manieth part: steps, then acts, then settings. None if there are not so many.
    pub fn without(&self, nth: usize) -> Option<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut with = |is: bool, change: &dyn Fn(&mut Self)| {
            if is {
                let mut smaller = self.clone();
                change(&mut smaller);
                all.push(smaller);
            }
        };
        (0..self.steps.len()).for_each(|at| with(true, &|it| drop(it.steps.remove(at))));
        for (at, step) in self.steps.iter().enumerate() {
            (0..step.acts.len()).for_each(|act| with(true, &|it| drop(it.steps[at].acts.remove(act))));
            with(step.kill.is_some(), &|it| it.steps[at].kill = None);
            with(step.pass_s > 0, &|it| it.steps[at].pass_s = 0);
        }
        with(self.agents.len() > 1, &|it| drop(it.agents.pop()));
        with(self.queues.len() > 1, &|it| it.queues.truncate(it.queues.len() - 1));
        for (at, queue) in self.queues.iter().enumerate() {
            with(queue.contact_silent.is_some(), &|it| it.queues[at].contact_silent = None);
            with(queue.agent_silent.is_some(), &|it| it.queues[at].agent_silent = None);
            with(queue.overflow.is_some(), &|it| it.queues[at].overflow = None);
            with(queue.max_waiting.is_some(), &|it| it.queues[at].max_waiting = None);
            with(queue.hours != Hours::Always, &|it| it.queues[at].hours = Hours::Always);
            with(queue.sticky_minutes > 0, &|it| it.queues[at].sticky_minutes = 0);
            with(queue.wrap_up_s > 0, &|it| it.queues[at].wrap_up_s = 0);
            with(queue.tells, &|it| it.queues[at].tells = false);
        }
        (nth < all.len()).then(|| all.swap_remove(nth))
    }
}

fn any_queue() -> impl Strategy<Value = Queue> {
    let offers = (
        select(vec!["longest_idle", "least_busy", "round_robin"]),
        prop::bool::weighted(0.2),
        4..7i32,
        select(vec![10, 30, 60]),
        prop::bool::weighted(0.3),
    );
    let minutes = |it| option::weighted(it, 1..4i32);
    let silent = move || option::weighted(0.4, (1..4i32, minutes(0.8)));
    let places = (
        select(vec![0, 0, 20]),
        select(vec![0, 2, 60, 60]),
        option::weighted(0.3, (select(vec![10, 40, 120]), any::<u8>())),
        option::weighted(0.25, 0..5i32),
        any_hours(),
        prop::bool::weighted(0.7),
    );
    (offers, places, silent(), silent(), prop::bool::weighted(0.2)).prop_map(
        |(offers, places, contact_silent, agent_silent, tells)| {
            let (strategy, is_auto, priority, offer_timeout_s, sets_away) = offers;
            let (wrap_up_s, sticky_minutes, overflow, max_waiting, hours, holds) = places;
            Queue {
                strategy,
                is_auto,
                priority,
                offer_timeout_s,
                sets_away,
                wrap_up_s,
                sticky_minutes,
                overflow,
                max_waiting,
                hours,
                holds,
                contact_silent,
                agent_silent,
                tells,
            }
        },
    )
}

fn any_hours() -> impl Strategy<Value = Hours> {
    prop_oneof![6 => Just(Hours::Always), 3 => Just(Hours::Halves), 1 => Just(Hours::Never)]
}

fn any_agent() -> impl Strategy<Value = Agent> {
    let serves = vec((any::<u8>(), 1..3i32), 0..4);
    (0..4i32, prop::bool::weighted(0.7), serves).prop_map(|(seats, is_ready, serves)| Agent { seats, is_ready, serves })
}

fn any_act() -> impl Strategy<Value = Act> {
    let it = any::<u8>;
    prop_oneof![
        8 => (vec(0..5u8, 1..4), it()).prop_map(|(contacts, queue)| Act::Arrive(contacts, queue)),
        8 => it().prop_map(Act::Accept),
        4 => it().prop_map(Act::Decline),
        6 => it().prop_map(Act::Reply),
        2 => (it(), it()).prop_map(|(room, agent)| Act::Grab(room, agent)),
        3 => (it(), it()).prop_map(|(room, queue)| Act::ToQueue(room, queue)),
        3 => (it(), it()).prop_map(|(room, agent)| Act::ToAgent(room, agent)),
        3 => (it(), it()).prop_map(|(room, agent)| Act::Take(room, agent)),
        8 => (it(), any::<bool>()).prop_map(|(room, by_agent)| Act::Close(room, by_agent)),
        5 => (it(), select(vec!["ready", "ready", "away", "offline"])).prop_map(|(agent, status)| Act::Status(agent, status)),
        1 => it().prop_map(Act::Stream),
        6 => Just(Act::Work),
        1 => (it(), any_hours()).prop_map(|(queue, hours)| Act::Hours(queue, hours)),
        1 => (it(), 0..4i32).prop_map(|(agent, seats)| Act::Seats(agent, seats)),
        1 => (it(), it(), option::of(1..3i32)).prop_map(|(agent, queue, member)| Act::Member(agent, queue, member)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let acts = vec((0..2u8, any_act()), 1..6);
    let kill = (0..8000u64, option::weighted(0.7, 0..2u8)).prop_map(|(after, process)| Kill { after, process });
    let kill = option::weighted(0.15, kill);
    let pass_s =
        prop_oneof![6 => Just(0i64), 2 => 1..12i64, 2 => 12..40i64, 2 => 40..70i64, 2 => 70..200i64, 1 => Just(700i64)];
    (pass_s, acts, kill).prop_map(|(pass_s, acts, kill)| Step { pass_s, acts, kill })
}

/// Any centre, with so many steps at most.
pub fn any_case(steps: usize) -> impl Strategy<Value = Case> {
    (vec(any_queue(), 1..4), vec(any_agent(), 1..6), vec(any_step(), steps / 2..=steps))
        .prop_map(|(queues, agents, steps)| Case { queues, agents, steps })
}
