//! What the database says of a centre at one moment.

use std::collections::HashMap;

use chatgate::{clock::Moment, ids::TenantId};
use sqlx::PgPool;
use uuid::Uuid;

/// A room as far as routing goes.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Room {
    pub id: Uuid,
    pub widget_id: Uuid,
    pub status: String,
    pub queue_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    pub place_at: Option<Moment>,
    pub queued_at: Option<Moment>,
    pub accepted_at: Option<Moment>,
    pub offer_expires_at: Option<Moment>,
    /// Who is not to be rung for it now.
    pub passed_by: Vec<Uuid>,
    /// Who may be rung for it again by now, but after everybody else.
    pub passed_once: Vec<Uuid>,
    pub is_held: bool,
    pub reminded_at: Option<Moment>,
    pub agent_silent_at: Option<Moment>,
    /// By its messages: since when the contact waits for an answer, or has left one without an answer.
    pub unanswered_since: Option<Moment>,
    pub answered_at: Option<Moment>,
    /// The last agent whom the contact had in a closed room, and until when.
    pub had: Option<Uuid>,
    pub had_until: Option<Moment>,
    pub opened_at: Moment,
}

/// An agent as far as routing goes.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: Uuid,
    pub is_ready: bool,
    pub seats: i64,
    /// Offered, active, and closed ones that are wrapped up.
    pub taken: i64,
    /// Rooms that ring at them or are theirs, as the product counts them, and as they are.
    pub chats: (i32, i64),
    /// Queue and member priority.
    pub serves: HashMap<Uuid, i32>,
}

type PersonRow = (Uuid, bool, i32, i64, i32, i64, Vec<Uuid>, Vec<i32>);

/// Everything at one moment. Open rooms in the order they were opened.
#[derive(Clone, Debug)]
pub struct Picture {
    pub rooms: Vec<Room>,
    pub people: Vec<Person>,
}

impl Picture {
    pub async fn take(db: &PgPool, tenant: TenantId, now: Moment) -> Self {
        let rooms = sqlx::query_as(
            "select r.id, r.widget_id, r.status, r.queue_id, r.agent_id, r.place_at, r.queued_at, r.accepted_at, r.offer_expires_at,
                case when r.rering_at > $2 then r.passed_by else '{}' end as passed_by, r.passed_by as passed_once, r.is_held,
                r.reminded_at, r.agent_silent_at, talk.unanswered_since, talk.answered_at, p.agent_id as had, p.closed_at as had_until,
                r.opened_at
            from rooms r
            cross join lateral (
                select min(m.created_at) filter (where m.direction = 'inbound' and m.seq > coalesce(last.answer, 0)) as unanswered_since,
                    max(m.created_at) filter (where m.seq = last.answer and last.answer > last.inbound) as answered_at
                from messages m, (
                    select max(seq) filter (where direction = 'inbound') as inbound, max(seq) filter (where author_kind = 'agent') as answer
                    from messages
                    where tenant_id = r.tenant_id and room_id = r.id) as last
                where m.tenant_id = r.tenant_id and m.room_id = r.id) as talk
            left join lateral (
                select agent_id, closed_at
                from rooms
                where tenant_id = r.tenant_id and contact_id = r.contact_id and status = 'closed' and agent_id is not null
                order by closed_at desc, id desc
                limit 1) as p on true
            where r.tenant_id = $1 and r.status <> 'closed'
            order by r.id",
        );
        let rooms: Vec<Room> = rooms.bind(tenant).bind(now).fetch_all(db).await.unwrap();
        let people: Vec<PersonRow> = sqlx::query_as(
            "select a.user_id, a.status = 'ready', a.max_chats,
                (select count(*) from rooms r
                 where r.tenant_id = a.tenant_id and r.agent_id = a.user_id
                   and (r.status in ('offered', 'active') or r.status = 'closed' and r.seat_until > $2)),
                a.chats,
                (select count(*) from rooms r
                 where r.tenant_id = a.tenant_id and r.agent_id = a.user_id and r.status in ('offered', 'active')),
                array(select queue_id from queue_members m where m.tenant_id = a.tenant_id and m.user_id = a.user_id order by queue_id),
                array(select priority from queue_members m where m.tenant_id = a.tenant_id and m.user_id = a.user_id order by queue_id)
            from agents a
            where a.tenant_id = $1
            order by a.user_id",
        )
        .bind(tenant)
        .bind(now)
        .fetch_all(db)
        .await
        .unwrap();
        let people =
            people.into_iter().map(|(id, is_ready, seats, taken, counted, chats, queues, priorities)| Person {
                id,
                is_ready,
                seats: seats.into(),
                taken,
                chats: (counted, chats),
                serves: queues.into_iter().zip(priorities).collect(),
            });
        Self { rooms, people: people.collect() }
    }

    pub fn room(&self, id: Uuid) -> Option<&Room> {
        self.rooms.iter().find(|it| it.id == id)
    }
}
