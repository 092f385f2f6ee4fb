//! Puts a centre into the database, and takes it out again.

use chatgate::{
    hours::{DayInterval, Schedule},
    ids::{HoursId, IncomingChatId, QueueId, TenantId, UserId, WidgetId},
};
use serde_json::Value;

use super::{
    case::{Act, Case, Hours, Queue},
    centre::{Centre, Line, Machine},
};

/// What hours are called, so that they are known again.
pub fn name(hours: Hours) -> String {
    format!("{hours:?}")
}

pub fn schedule(hours: Hours) -> Value {
    let of_day = |day: &str| -> Vec<DayInterval> {
        let interval = |from: String, to: String| DayInterval { day: day.to_owned(), from, to };
        match hours {
            Hours::Always => vec![interval("00:00".to_owned(), "24:00".to_owned())],
            Hours::Never => Vec::new(),
            Hours::Halves => (0..24).map(|hour| interval(format!("{hour:02}:00"), format!("{hour:02}:30"))).collect(),
        }
    };
    let intervals = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].into_iter().flat_map(of_day).collect();
    let schedule = Schedule { time_zone: "UTC".to_owned(), intervals, exceptions: Vec::new(), locale: None };
    schedule.parse().expect("the model's hours can be read");
    serde_json::json!(schedule)
}

impl<'m> Centre<'m> {
    pub async fn open(machine: &'m mut Machine, case: &Case) -> Centre<'m> {
        let now = machine.clock.now();
        let tenant = TenantId::fresh(now);
        sqlx::query("insert into tenants (id, slug, name, created_at, updated_at) values ($1, $2, 'Model', $3, $3)")
            .bind(tenant)
            .bind(tenant.to_string())
            .bind(now)
            .execute(&machine.db)
            .await
            .unwrap();
        let mut centre = Self { machine, tenant, queues: Vec::new(), agents: Vec::new(), written: 0 };
        for it in &case.queues {
            centre.add_queue(it).await;
        }
        for (at, it) in case.queues.iter().enumerate() {
            let Some((after_s, to)) = it.overflow else { continue };
            let to = usize::from(to) % centre.queues.len();
            if to != at {
                sqlx::query(
                    "update queues set overflow_after_s = $3, overflow_queue_id = $4 where tenant_id = $1 and id = $2",
                )
                .bind(tenant)
                .bind(centre.queues[at].id)
                .bind(after_s)
                .bind(centre.queues[to].id)
                .execute(&centre.machine.db)
                .await
                .unwrap();
            }
        }
        for it in &case.agents {
            centre.add_agent(it.seats, it.is_ready).await;
        }
        for (at, it) in (0u8..).zip(&case.agents) {
            for (queue, priority) in &it.serves {
                centre.set(&Act::Member(at, *queue, Some(*priority))).await;
            }
        }
        centre
    }

    async fn add_queue(&mut self, it: &Queue) {
        let (db, now) = (&self.machine.db, self.machine.clock.now());
        let (id, widget, hours_id) = (QueueId::fresh(now), WidgetId::fresh(now), HoursId::fresh(now));
        sqlx::query(
            "insert into queues (tenant_id, id, name, strategy, accept, offer_timeout_s, offer_timeout_action, wrap_up_s, priority,
                sticky_minutes, max_waiting, contact_silent_minutes, contact_close_minutes, contact_silent_text,
                agent_silent_minutes, agent_return_minutes, waiting_text, waiting_text_every_s, created_at, updated_at)
            values ($1, $2, $2::text, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'Still there?', $13, $14, $15, 60, $16, $16)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(it.strategy)
        .bind(if it.is_auto { "auto" } else { "manual" })
        .bind(it.offer_timeout_s)
        .bind(if it.sets_away { "requeue_and_away" } else { "requeue" })
        .bind(it.wrap_up_s)
        .bind(it.priority)
        .bind(it.sticky_minutes)
        .bind(it.max_waiting)
        .bind(it.contact_silent.map(|it| it.0))
        .bind(it.contact_silent.and_then(|it| it.1))
        .bind(it.agent_silent.map(|it| it.0))
        .bind(it.agent_silent.and_then(|it| it.1))
        .bind(if it.tells { "Number {position}." } else { "" })
        .bind(now)
        .execute(db)
        .await
        .unwrap();
        sqlx::query(
            "with w as (
                insert into widgets (tenant_id, id, channel, name, display_name, color, tags_offered, tags_required, texts, created_at, updated_at)
                values ($1, $2, 'messenger', $2::text, 'Page', '#000000', '{}', false, '{}', $9, $9)
            ), h as (
                insert into working_hours (tenant_id, id, name, schedule, created_at, updated_at) values ($1, $3, $4, $5, $9, $9))
            insert into incoming_chats (tenant_id, id, name, widget_id, queue_id, working_hours_id, offline_message, after_hours, enabled,
                created_at, updated_at)
            values ($1, $6, '', $2, $7, $3, 'Closed until {next_open}.', $8, true, $9, $9)",
        )
        .bind(self.tenant)
        .bind(widget)
        .bind(hours_id)
        .bind(name(it.hours))
        .bind(schedule(it.hours))
        .bind(IncomingChatId::fresh(now))
        .bind(id)
        .bind(if it.holds { "hold" } else { "close" })
        .bind(now)
        .execute(db)
        .await
        .unwrap();
        self.queues.push(Line { id, widget, hours_id, hours: it.hours, settings: it.clone() });
    }

    async fn add_agent(&mut self, seats: i32, is_ready: bool) {
        let now = self.machine.clock.now();
        let id = UserId::fresh(now);
        sqlx::query(
            "with u as (
                insert into users (tenant_id, id, email, name, password_hash, roles, created_at, updated_at)
                values ($1, $2, $2::text, $2::text, '', '{agent}', $3, $3))
            insert into agents (tenant_id, user_id, max_chats, status, status_since, idle_since)
            values ($1, $2, $4, $5, $3, $3)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(now)
        .bind(seats)
        .bind(if is_ready { "ready" } else { "offline" })
        .execute(&self.machine.db)
        .await
        .unwrap();
        self.agents.push(id);
    }

    /// Which hours hold now: a change may have been killed.
    pub async fn read_hours(&mut self) {
        for line in &mut self.queues {
            let stored: String = sqlx::query_scalar("select name from working_hours where tenant_id = $1 and id = $2")
                .bind(self.tenant)
                .bind(line.hours_id)
                .fetch_one(&self.machine.db)
                .await
                .unwrap();
            let all = [Hours::Always, Hours::Never, Hours::Halves];
            line.hours = all.into_iter().find(|it| name(*it) == stored).unwrap();
        }
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
}
