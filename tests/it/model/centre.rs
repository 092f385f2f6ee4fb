//! A contact centre that several processes run on one database. Acts go straight to the verbs: thousands of steps would take too
//! long through the doors, which the stories walk.

use std::time::Duration;

use chatgate::{
    app::Gateway,
    channels::Content,
    clock::{Clock, Moment},
    config::Settings,
    crew::{Crew, Step, Worker as _},
    db::bell::Bell,
    ids::{HoursId, MessageId, QueueId, RoomId, TenantId, UserId, WidgetId},
    intake::{self, apply::Care},
    queues::{
        AgentStatus, Dispatch, Mover,
        assign::Assigner,
        moves::{self, MoveError, Target},
        opening,
        presence::{self, Watch},
        timers::Timers,
    },
    rooms::{
        Direction, Status,
        receive::Inbound,
        say::{self, Writer},
    },
    seal::SealKey,
};
use futures::future::join_all;
use sqlx::PgPool;

use super::{
    case::{Act, Hours, Kill, Queue},
    furnish::{name, schedule},
    picture::Picture,
};
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
    pub machine: &'m mut Machine,
    pub tenant: TenantId,
    pub queues: Vec<Line>,
    pub agents: Vec<UserId>,
    pub written: u64,
}

/// A queue with the widget whose rooms come into it.
pub struct Line {
    pub id: QueueId,
    pub widget: WidgetId,
    pub hours_id: HoursId,
    pub hours: Hours,
    pub settings: Queue,
}

impl Line {
    pub fn is_open(&self, now: Moment) -> bool {
        match self.hours {
            Hours::Always => true,
            Hours::Never => false,
            Hours::Halves => now.timestamp() % 3600 < 1800,
        }
    }
}

struct Process {
    gateway: Gateway,
    crew: Crew,
    assign: Assigner,
    watch: Watch,
    timers: Timers,
}

impl Process {
    async fn start(database: &TestDatabase, clock: &Clock) -> Self {
        let settings = Settings::load(None, &[]).unwrap();
        let seal = SealKey::parse(&SealKey::generate()).unwrap();
        let (db, clock, crew) = (database.pool().await, clock.clone(), Crew::new());
        let gateway = Gateway::assemble(settings, db, Bell::local(), seal, clock.clone(), crew.clone()).await.unwrap();
        let dispatch = || gateway.app.dispatch.clone();
        let assign = Assigner::new(dispatch(), clock.clone());
        let watch = Watch::new(dispatch(), clock.clone());
        let timers = Timers { dispatch: dispatch(), clock };
        Self { assign, watch, timers, crew, gateway }
    }

    fn dispatch(&self) -> &Dispatch {
        &self.gateway.app.dispatch
    }

    /// Whether there was anything to do.
    async fn step(&self) -> anyhow::Result<bool> {
        let steps = tokio::join!(self.assign.step(), self.watch.step(), self.timers.step());
        Ok([steps.0?, steps.1?, steps.2?].contains(&Step::Worked))
    }

    async fn stop(self) {
        self.crew.dismiss(Duration::from_secs(5)).await;
        self.dispatch().db.close().await;
    }
}

impl Machine {
    pub async fn start() -> Self {
        let (database, clock) = (TestDatabase::create().await, Clock::manual(Clock::System.now()));
        let processes = Self::start_processes(&database, &clock).await;
        Self { db: database.pool().await, database, clock, processes }
    }

    async fn start_processes(database: &TestDatabase, clock: &Clock) -> Vec<Process> {
        join_all((0..2).map(|_| Process::start(database, clock))).await
    }

    /// After all processes were killed: new ones, which know nothing.
    async fn restart(&mut self) {
        let new = Self::start_processes(&self.database, &self.clock).await;
        join_all(std::mem::replace(&mut self.processes, new).into_iter().map(Process::stop)).await;
    }

    pub async fn stop(self) {
        join_all(self.processes.into_iter().map(Process::stop)).await;
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

impl Centre<'_> {
    pub async fn look(&self) -> Picture {
        Picture::take(&self.machine.db, self.tenant, self.machine.clock.now()).await
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
        let dies = |process: usize| {
            let kills =
                |it: &Kill| it.process.is_none_or(|it| usize::from(it) % self.machine.processes.len() == process);
            step.kill.filter(kills).map(|it| Duration::from_micros(it.after))
        };
        let done = join_all(at_once.into_iter().map(|(process, act, nth)| {
            let one = self.one(&self.machine.processes[process], act, nth, before, now);
            let dies = dies(process);
            async move {
                match dies {
                    Some(after) => tokio::time::timeout(after, one).await.unwrap_or(Ok(())),
                    None => one.await,
                }
                .map_err(|error| format!("{act:?} failed: {error}"))
            }
        }))
        .await;
        if step.kill.is_some() {
            self.machine.bury().await;
        }
        if step.kill.is_some_and(|it| it.process.is_none()) {
            self.machine.restart().await;
        }
        // What was killed may have been done or not.
        self.read_hours().await;
        done.into_iter().collect()
    }

    pub fn pass(&self, seconds: i64) {
        self.machine.clock.advance(chrono::TimeDelta::seconds(seconds));
    }

    /// Lets everybody finish, in all processes at once.
    pub async fn settle(&self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..ENDLESS {
            let worked: anyhow::Result<Vec<_>> =
                join_all(self.machine.processes.iter().map(Process::step)).await.into_iter().collect();
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
        let line = |at: &u8| &self.queues[usize::from(*at) % self.queues.len()];
        let supervisor = || Mover { id: None, name: "Sue".to_owned(), sees_all: true };
        let moved = |result: Result<_, MoveError>| match result {
            Err(MoveError::Db(error)) => Err(error.to_string()),
            _ => Ok(()),
        };
        match act {
            Act::Arrive(contacts, to) => {
                self.arrive(dispatch, contacts, line(to).widget, nth, now).await.map_err(|it| it.to_string())
            }
            Act::Accept(it) | Act::Decline(it) => {
                let offered: Vec<_> = before.rooms.iter().filter(|it| it.status == "offered").collect();
                if offered.is_empty() {
                    return Ok(());
                }
                let room = offered[usize::from(*it) % offered.len()];
                let (id, me) = (RoomId(room.id), UserId(room.agent_id.unwrap()));
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
                let to = Target::Queue(line(to).id);
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
                let mover = match room.agent_id.filter(|_| *by_agent) {
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
            Act::Reply(it) => {
                let Some(room) = room(it) else { return Ok(()) };
                self.reply(dispatch, RoomId(room.id), now).await.map_err(|it| it.to_string())
            }
            Act::Work => process.step().await.map(drop).map_err(|it| format!("{it:#}")),
            Act::Hours(it, hours) => {
                self.change_hours(dispatch, line(it), *hours, now).await.map_err(|it| it.to_string())
            }
            Act::Seats(..) | Act::Member(..) => Ok(()),
        }
    }

    async fn arrive(
        &self,
        dispatch: &Dispatch,
        contacts: &[u8],
        widget: WidgetId,
        nth: u64,
        now: Moment,
    ) -> sqlx::Result<()> {
        let items: Vec<_> = contacts
            .iter()
            .zip(0..)
            .map(|(contact, at)| Inbound {
                id: MessageId::fresh(now),
                tenant: self.tenant,
                widget,
                sender: contact.to_string(),
                at: now,
                external_id: format!("m_{nth}_{at}"),
                content: Content::Text { text: "hello".to_owned() },
                reply_to: None,
                referral: None,
            })
            .collect();
        for care in [Care::Looks, Care::Locks] {
            let mut tx = chatgate::db::begin(&dispatch.db).await?;
            // Intake applies a sender's items one after the other, in whichever process.
            sqlx::query("select pg_advisory_xact_lock(16)").execute(&mut *tx).await?;
            if intake::apply::store(&mut tx, &items, care, now).await?.is_some() {
                return tx.commit().await;
            }
        }
        panic!("locked rooms stay as they are");
    }

    /// By whoever holds the room now.
    async fn reply(&self, dispatch: &Dispatch, room: RoomId, now: Moment) -> sqlx::Result<()> {
        let mut tx = chatgate::db::begin(&dispatch.db).await?;
        let Some(mut room) = chatgate::rooms::store::lock(&mut tx, self.tenant, room).await? else { return Ok(()) };
        let Some(holder) = room.agent.filter(|_| room.status == Status::Active) else { return Ok(()) };
        let (writer, content) = (Writer::agent(holder, "Ann"), Content::Text { text: "yes".to_owned() });
        say::write(&mut tx, self.tenant, &mut room, &writer, Direction::Outbound, &content, now).await?;
        tx.commit().await
    }

    async fn change_hours(&self, dispatch: &Dispatch, line: &Line, hours: Hours, now: Moment) -> sqlx::Result<()> {
        let mut tx = chatgate::db::begin(&dispatch.db).await?;
        sqlx::query("update working_hours set name = $3, schedule = $4 where tenant_id = $1 and id = $2")
            .bind(self.tenant)
            .bind(line.hours_id)
            .bind(name(hours))
            .bind(schedule(hours))
            .execute(&mut *tx)
            .await?;
        opening::hours_changed(&mut tx, self.tenant, now).await?;
        tx.commit().await
    }

    pub async fn set(&self, act: &Act) {
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
                let queue = self.queues[usize::from(*queue) % self.queues.len()].id;
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
}
