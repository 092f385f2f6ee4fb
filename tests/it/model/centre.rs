//! A contact centre that several processes run on one database. Acts go straight to the verbs: thousands of steps would take too
//! long through the doors, which the stories walk.

use std::{collections::HashMap, time::Duration};

use chatgate::{
    app::Gateway,
    channels::Content,
    clock::{Clock, Moment},
    config::Settings,
    crew::{Crew, Step, Worker as _},
    db::bell::Bell,
    ids::{MessageId, QueueId, RoomId, TenantId, UserId, WidgetId},
    queues::{
        AgentStatus, Dispatch, Mover,
        assign::Assigner,
        moves::{self, MoveError, Target},
        presence::{self, Watch},
        timers::Timers,
    },
    rooms::{
        Place,
        receive::{self, Inbound},
    },
    seal::SealKey,
};
use futures::future::join_all;
use sqlx::PgPool;
use uuid::Uuid;

use super::case::{Act, Case};
use crate::support::cluster::TestDatabase;

/// More rounds than any settling takes: then it goes round and round.
const ENDLESS: usize = 100;

/// The processes, which stay from one history to the next.
pub struct Machine {
    database: TestDatabase,
    pub db: PgPool,
    pub clock: Clock,
    processes: Vec<Process>,
}

/// One tenant's history on it.
pub struct Centre<'m> {
    pub machine: &'m Machine,
    pub tenant: TenantId,
    widget: WidgetId,
    queues: Vec<QueueId>,
    agents: Vec<UserId>,
    written: u64,
}

struct Process {
    gateway: Gateway,
    assign: Assigner,
    watch: Watch,
    timers: Timers,
}

impl Process {
    async fn start(database: &TestDatabase, clock: &Clock) -> Self {
        let settings = Settings::load(None, &[]).unwrap();
        let seal = SealKey::parse(&SealKey::generate()).unwrap();
        let (db, clock) = (database.pool().await, clock.clone());
        let gateway = Gateway::assemble(settings, db, Bell::local(), seal, clock.clone(), Crew::new()).await.unwrap();
        let dispatch = || gateway.app.dispatch.clone();
        let assign = Assigner::new(dispatch(), clock.clone());
        let watch = Watch { dispatch: dispatch(), clock: clock.clone() };
        let timers = Timers { dispatch: dispatch(), clock };
        Self { assign, watch, timers, gateway }
    }

    fn dispatch(&self) -> &Dispatch {
        &self.gateway.app.dispatch
    }
}

impl Machine {
    pub async fn start() -> Self {
        let (database, clock) = (TestDatabase::create().await, Clock::manual(Clock::System.now()));
        let processes = join_all((0..2).map(|_| Process::start(&database, &clock))).await;
        Self { db: database.pool().await, database, clock, processes }
    }

    pub async fn stop(self) {
        for it in &self.processes {
            it.dispatch().db.close().await;
        }
        self.db.close().await;
        self.database.drop().await;
    }

    /// Waits until what killed processes were doing has been rolled back, or was committed at the last moment.
    async fn bury(&self) {
        let sql = "select count(*) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null";
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.db).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// A room as far as routing goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    pub id: Uuid,
    pub status: String,
    pub queue: Option<Uuid>,
    pub agent: Option<Uuid>,
    pub place_at: Option<Moment>,
    pub offer_expires_at: Option<Moment>,
    /// Who is not to be rung for it now.
    pub passed_by: Vec<Uuid>,
    /// Who may be rung for it again by now, but after everybody else.
    pub passed_once: Vec<Uuid>,
    pub is_held: bool,
}

/// An agent as far as routing goes.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: Uuid,
    pub is_ready: bool,
    pub seats: i64,
    /// Offered, active, and closed ones that are wrapped up.
    pub taken: i64,
    /// Queue and member priority.
    pub serves: HashMap<Uuid, i32>,
}

type RoomRow = (Uuid, String, Option<Uuid>, Option<Uuid>, Option<Moment>, Option<Moment>, Vec<Uuid>, Vec<Uuid>, bool);
type PersonRow = (Uuid, bool, i32, i64, Vec<Uuid>, Vec<i32>);

/// Everything at one moment. Open rooms in the order they were opened.
#[derive(Clone, Debug)]
pub struct Picture {
    pub rooms: Vec<Room>,
    pub people: Vec<Person>,
    pub priority: HashMap<Uuid, i32>,
}

impl Picture {
    pub fn room(&self, id: Uuid) -> Option<&Room> {
        self.rooms.iter().find(|it| it.id == id)
    }
}

impl<'m> Centre<'m> {
    pub async fn open(machine: &'m Machine, case: &Case) -> Centre<'m> {
        let (db, now) = (&machine.db, machine.clock.now());
        let (tenant, widget) = (TenantId::fresh(now), WidgetId::fresh(now));
        let (mut queues, mut agents) = (Vec::new(), Vec::new());
        sqlx::query("insert into tenants (id, slug, name, created_at, updated_at) values ($1, $2, 'Model', $3, $3)")
            .bind(tenant)
            .bind(tenant.to_string())
            .bind(now)
            .execute(db)
            .await
            .unwrap();
        sqlx::query(
            "insert into widgets (tenant_id, id, channel, name, display_name, color, tags_offered, tags_required, texts, created_at, updated_at)
            values ($1, $2, 'messenger', 'Page', 'Page', '#000000', '{}', false, '{}', $3, $3)",
        )
        .bind(tenant)
        .bind(widget)
        .bind(now)
        .execute(db)
        .await
        .unwrap();
        for (at, it) in case.queues.iter().enumerate() {
            let id = QueueId::fresh(now);
            sqlx::query(
                "insert into queues (tenant_id, id, name, strategy, accept, offer_timeout_s, offer_timeout_action, wrap_up_s, priority,
                    created_at, updated_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            )
            .bind(tenant)
            .bind(id)
            .bind(format!("Queue {at}"))
            .bind(it.strategy)
            .bind(if it.is_auto { "auto" } else { "manual" })
            .bind(it.offer_timeout_s)
            .bind(if it.sets_away { "requeue_and_away" } else { "requeue" })
            .bind(it.wrap_up_s)
            .bind(it.priority)
            .bind(now)
            .execute(db)
            .await
            .unwrap();
            queues.push(id);
        }
        for (at, it) in case.agents.iter().enumerate() {
            let id = UserId::fresh(now);
            sqlx::query(
                "with u as (
                    insert into users (tenant_id, id, email, name, password_hash, roles, created_at, updated_at)
                    values ($1, $2, $3, $3, '', '{agent}', $4, $4))
                insert into agents (tenant_id, user_id, max_chats, status, status_since, idle_since)
                values ($1, $2, $5, $6, $4, $4)",
            )
            .bind(tenant)
            .bind(id)
            .bind(format!("Agent {at}"))
            .bind(now)
            .bind(it.seats)
            .bind(if it.is_ready { "ready" } else { "offline" })
            .execute(db)
            .await
            .unwrap();
            agents.push(id);
        }
        let centre = Self { machine, tenant, widget, queues, agents, written: 0 };
        for (at, it) in (0u8..).zip(&case.agents) {
            for (queue, priority) in &it.serves {
                centre.set(&Act::Member(at, *queue, Some(*priority))).await;
            }
        }
        centre
    }

    /// Leaves the database as it was.
    pub async fn shut(self) {
        for sql in [
            "delete from outbox where tenant_id = $1",
            "delete from messages where tenant_id = $1",
            "delete from events where tenant_id = $1",
            "delete from routing_log where tenant_id = $1",
            "delete from rooms where tenant_id = $1",
            "delete from contacts where tenant_id = $1",
            "delete from widgets where tenant_id = $1",
            "delete from tenants where id = $1",
        ] {
            sqlx::query(sql).bind(self.tenant).execute(&self.machine.db).await.unwrap();
        }
    }

    /// Does what the step says, all at once; what went wrong that never may.
    pub async fn act(&mut self, step: &super::case::Step, before: &Picture) -> Result<(), String> {
        for (_, act) in step.acts.iter().filter(|(_, act)| act.is_setting()) {
            self.set(act).await;
        }
        let now = self.machine.clock.now();
        let at_once = step.acts.iter().filter(|(_, act)| !act.is_setting()).map(|(process, act)| {
            self.written += 1;
            (usize::from(*process) % self.machine.processes.len(), act, self.written)
        });
        let at_once: Vec<_> = at_once.collect();
        let killed = step.kill.map(|(process, after)| (usize::from(process) % self.machine.processes.len(), after));
        let done = join_all(at_once.into_iter().map(|(process, act, nth)| {
            let one = self.one(&self.machine.processes[process], act, nth, before, now);
            async move {
                match killed {
                    Some((it, after)) if it == process => {
                        tokio::time::timeout(Duration::from_micros(after), one).await.unwrap_or(Ok(()))
                    }
                    _ => one.await,
                }
                .map_err(|error| format!("{act:?} failed: {error}"))
            }
        }))
        .await;
        if killed.is_some() {
            self.machine.bury().await;
        }
        done.into_iter().collect()
    }

    pub fn pass(&self, seconds: i64) {
        self.machine.clock.advance(chrono::TimeDelta::seconds(seconds));
    }

    /// Lets everybody finish, in all processes at once.
    pub async fn settle(&self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..ENDLESS {
            let steps = join_all(self.machine.processes.iter().map(|it| async {
                let steps = tokio::join!(it.assign.step(), it.watch.step(), it.timers.step());
                Ok([steps.0?, steps.1?, steps.2?].contains(&Step::Worked))
            }));
            let worked: Result<Vec<_>, anyhow::Error> = steps.await.into_iter().collect();
            let worked = worked.map_err(|error| format!("settling failed: {error:#}"))?;
            quiet = if worked.contains(&true) { 0 } else { quiet + 1 };
            // One worker's last step may be another's first.
            if quiet == 2 {
                return Ok(());
            }
        }
        Err("it never settles".to_owned())
    }

    async fn one(&self, process: &Process, act: &Act, nth: u64, before: &Picture, now: Moment) -> Result<(), String> {
        let (dispatch, tenant) = (process.dispatch(), self.tenant);
        let room = |at: &u8| (!before.rooms.is_empty()).then(|| &before.rooms[usize::from(*at) % before.rooms.len()]);
        let agent = |at: &u8| self.agents[usize::from(*at) % self.agents.len()];
        let queue = |at: &u8| self.queues[usize::from(*at) % self.queues.len()];
        let supervisor = || Mover { id: None, name: "Sue".to_owned(), sees_all: true };
        let moved = |result: Result<_, MoveError>| match result {
            Err(MoveError::Db(error)) => Err(error.to_string()),
            _ => Ok(()),
        };
        match act {
            Act::Arrive(contacts, to) => {
                self.arrive(dispatch, contacts, queue(to), nth, now).await.map_err(|it| it.to_string())
            }
            Act::Accept(it) | Act::Decline(it) => {
                let offered: Vec<_> = before.rooms.iter().filter(|it| it.status == "offered").collect();
                if offered.is_empty() {
                    return Ok(());
                }
                let room = offered[usize::from(*it) % offered.len()];
                let (id, me) = (RoomId(room.id), UserId(room.agent.unwrap()));
                moved(match act {
                    Act::Accept(_) => moves::accept(dispatch, tenant, id, me, now).await,
                    _ => moves::decline(dispatch, tenant, id, me, now).await,
                })
            }
            Act::Grab(it, who) => {
                let Some(room) = room(it) else { return Ok(()) };
                moved(moves::accept(dispatch, tenant, RoomId(room.id), agent(who), now).await)
            }
            Act::ToQueue(it, to) => {
                let Some(room) = room(it) else { return Ok(()) };
                let to = Target::Queue(queue(to));
                moved(moves::transfer(dispatch, tenant, RoomId(room.id), &supervisor(), to, None, now).await)
            }
            Act::ToAgent(it, to) => {
                let Some(room) = room(it) else { return Ok(()) };
                let to = Target::Agent(agent(to));
                moved(moves::transfer(dispatch, tenant, RoomId(room.id), &supervisor(), to, None, now).await)
            }
            Act::Take(it, who) => {
                let Some(room) = room(it) else { return Ok(()) };
                moved(moves::take(dispatch, tenant, RoomId(room.id), &supervisor(), agent(who), now).await)
            }
            Act::Close(it, by_agent) => {
                let Some(room) = room(it) else { return Ok(()) };
                let mover = match room.agent.filter(|_| *by_agent) {
                    Some(me) => Mover { id: Some(UserId(me)), name: "Ann".to_owned(), sees_all: false },
                    None => supervisor(),
                };
                moved(moves::close(dispatch, tenant, RoomId(room.id), &mover, None, None, now).await)
            }
            Act::Status(who, status) => {
                let status = match *status {
                    "ready" => AgentStatus::Ready,
                    "away" => AgentStatus::Away,
                    _ => AgentStatus::Offline,
                };
                let set = presence::set_status(dispatch, tenant, agent(who), status, None, None, now).await;
                set.map(drop).map_err(|it| it.to_string())
            }
            Act::Stream(who) => {
                let (db, who) = (&dispatch.db, [agent(who).0]);
                let seen = chatgate::queues::store::presence::mark_streaming(db, &[tenant.0], &who, now).await;
                seen.map_err(|it| it.to_string())
            }
            Act::Assign => process.assign.step().await.map(drop).map_err(|it| format!("{it:#}")),
            Act::Seats(..) | Act::Member(..) => Ok(()),
        }
    }

    async fn arrive(
        &self,
        dispatch: &Dispatch,
        contacts: &[u8],
        queue: QueueId,
        nth: u64,
        now: Moment,
    ) -> sqlx::Result<()> {
        let items: Vec<_> = contacts
            .iter()
            .zip(0..)
            .map(|(contact, at)| Inbound {
                id: MessageId::fresh(now),
                tenant: self.tenant,
                widget: self.widget,
                sender: contact.to_string(),
                at: now,
                external_id: format!("m_{nth}_{at}"),
                content: Content::Text { text: "hello".to_owned() },
                reply_to: None,
                referral: None,
            })
            .collect();
        let mut tx = chatgate::db::begin(&dispatch.db).await?;
        // Intake applies a sender's items one after the other, in whichever process.
        sqlx::query("select pg_advisory_xact_lock(16)").execute(&mut *tx).await?;
        let mut looked = receive::look(&mut tx, &items, now).await?;
        looked.lock(&mut tx).await?;
        let places = HashMap::from([(self.widget, Place::Queue { queue, held: None, limit: None, greets: false })]);
        let stored = looked.store(&mut tx, &places, now).await?;
        assert!(stored.is_some(), "locked rooms stay as they are");
        tx.commit().await
    }

    async fn set(&self, act: &Act) {
        match act {
            Act::Seats(who, seats) => {
                let who = self.agents[usize::from(*who) % self.agents.len()];
                sqlx::query("update agents set max_chats = $3 where tenant_id = $1 and user_id = $2")
                    .bind(self.tenant)
                    .bind(who)
                    .bind(seats)
                    .execute(&self.machine.db)
                    .await
                    .unwrap();
            }
            Act::Member(who, queue, priority) => {
                let who = self.agents[usize::from(*who) % self.agents.len()];
                let queue = self.queues[usize::from(*queue) % self.queues.len()];
                sqlx::query("delete from queue_members where tenant_id = $1 and queue_id = $2 and user_id = $3")
                    .bind(self.tenant)
                    .bind(queue)
                    .bind(who)
                    .execute(&self.machine.db)
                    .await
                    .unwrap();
                let Some(priority) = priority else { return };
                sqlx::query(
                    "insert into queue_members (tenant_id, queue_id, user_id, priority) values ($1, $2, $3, $4)",
                )
                .bind(self.tenant)
                .bind(queue)
                .bind(who)
                .bind(priority)
                .execute(&self.machine.db)
                .await
                .unwrap();
            }
            _ => {}
        }
    }

    /// What the database says now.
    pub async fn look(&self) -> Picture {
        let now = self.machine.clock.now();
        let rooms: Vec<RoomRow> = sqlx::query_as(
            "select id, status, queue_id, agent_id, place_at, offer_expires_at,
                case when rering_at > $2 then passed_by else '{}' end, passed_by, is_held
            from rooms
            where tenant_id = $1 and status <> 'closed'
            order by id",
        )
        .bind(self.tenant)
        .bind(now)
        .fetch_all(&self.machine.db)
        .await
        .unwrap();
        let rooms = rooms.into_iter().map(
            |(id, status, queue, agent, place_at, offer_expires_at, passed_by, passed_once, is_held)| Room {
                id,
                status,
                queue,
                agent,
                place_at,
                offer_expires_at,
                passed_by,
                passed_once,
                is_held,
            },
        );
        let people: Vec<PersonRow> = sqlx::query_as(
            "select a.user_id, a.status = 'ready', a.max_chats,
                (select count(*) from rooms r
                 where r.tenant_id = a.tenant_id and r.agent_id = a.user_id
                   and (r.status in ('offered', 'active') or r.status = 'closed' and r.seat_until > $2)),
                array(select queue_id from queue_members m where m.tenant_id = a.tenant_id and m.user_id = a.user_id order by queue_id),
                array(select priority from queue_members m where m.tenant_id = a.tenant_id and m.user_id = a.user_id order by queue_id)
            from agents a
            where a.tenant_id = $1
            order by a.user_id",
        )
        .bind(self.tenant)
        .bind(now)
        .fetch_all(&self.machine.db)
        .await
        .unwrap();
        let people = people.into_iter().map(|(id, is_ready, seats, taken, queues, priorities)| Person {
            id,
            is_ready,
            seats: seats.into(),
            taken,
            serves: queues.into_iter().zip(priorities).collect(),
        });
        let priority: Vec<(Uuid, i32)> = sqlx::query_as("select id, priority from queues where tenant_id = $1")
            .bind(self.tenant)
            .fetch_all(&self.machine.db)
            .await
            .unwrap();
        Picture { rooms: rooms.collect(), people: people.collect(), priority: priority.into_iter().collect() }
    }
}
