//! What must hold, said once for all histories.

use std::collections::HashMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    case::Act,
    centre::{Person, Picture, Room},
};
use chatgate::{clock::Moment, ids::TenantId};

type Held = Result<(), String>;

macro_rules! must {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

/// At every moment: nobody has more rooms than seats, nobody is rung who is not ready. `slack` knows who had more when their seats were
/// taken away.
pub fn always(now: &Picture, slack: &mut HashMap<Uuid, i64>) -> Held {
    for it in &now.people {
        let most = slack.entry(it.id).or_default();
        *most = it.seats.max(*most);
        must!(it.taken <= *most, "agent {} has {} rooms on {} seats", it.id, it.taken, it.seats);
        *most = it.taken;
    }
    for room in now.rooms.iter().filter(|it| it.status == "offered") {
        let who = now.people.iter().find(|it| Some(it.id) == room.agent);
        must!(who.is_some_and(|it| it.is_ready), "room {} rings at somebody who is not ready", room.id);
    }
    Ok(())
}

/// Once everything has settled: no offer has outlived its time, and no room waits while somebody could take it.
pub fn settled(it: &Picture, now: Moment) -> Held {
    for room in &it.rooms {
        must!(room.offer_expires_at.is_none_or(|at| at > now), "the offer of room {} is over and still rings", room.id);
        for person in it.people.iter().filter(|person| room.status == "waiting" && fits(room, person)) {
            must!(person.taken >= person.seats, "room {} waits, and agent {} is free", room.id, person.id);
        }
    }
    Ok(())
}

fn fits(room: &Room, person: &Person) -> bool {
    let serves = room.queue.is_some_and(|queue| person.serves.contains_key(&queue));
    person.is_ready && serves && !room.is_held && !room.passed_by.contains(&person.id)
}

/// What settling did: whoever was given a room was given the first of those that waited, and nobody who goes before them was free.
pub fn order(before: &Picture, after: &Picture) -> Held {
    let rank = |room: &Room| (room.queue.and_then(|it| after.priority.get(&it)), room.place_at, room.id);
    for room in &after.rooms {
        let (Some(was), Some(agent), Some(queue)) = (before.room(room.id), room.agent, room.queue) else { continue };
        if was.agent == room.agent {
            continue;
        }
        must!(!was.passed_by.contains(&agent), "room {} rings again at agent {agent}, who passed on it", room.id);
        let agent = after.people.iter().find(|it| it.id == agent).ok_or("nobody")?;
        for left in after.rooms.iter().filter(|it| it.status == "waiting" && fits(it, agent)) {
            let waited =
                before.room(left.id).is_some_and(|it| it.status == "waiting" && !it.passed_by.contains(&agent.id));
            must!(
                !waited || rank(left) > rank(room),
                "room {} was given before {}, which goes first",
                room.id,
                left.id
            );
        }
        let Some(level) = agent.serves.get(&queue) else { continue };
        let goes_first = |it: &&Person| fits(room, it) && it.taken < it.seats && !was.passed_once.contains(&it.id);
        for better in after.people.iter().filter(goes_first) {
            must!(
                better.serves[&queue] >= *level,
                "room {} went past agent {}, who is free and goes first",
                room.id,
                better.id
            );
        }
    }
    Ok(())
}

/// A room that was not transferred keeps its place through everything that happened to it while it waited or rang.
pub fn places(before: &Picture, after: &Picture, acts: &[(u8, Act)]) -> Held {
    let moved = |at: usize| {
        acts.iter()
            .any(|(_, act)| matches!(act, Act::ToQueue(room, _) if usize::from(*room) % before.rooms.len() == at))
    };
    for (at, was) in before.rooms.iter().enumerate().filter(|(at, was)| was.status != "active" && !moved(*at)) {
        let Some(room) = after.room(was.id).filter(|it| it.status != "active") else { continue };
        must!(room.place_at == was.place_at, "room {} lost its place {at}", room.id);
    }
    Ok(())
}

/// The event log as a reader follows it: every room goes through states that can follow each other, and ends where the table says.
#[derive(Default)]
pub struct Story {
    after: (i64, i64),
    rooms: HashMap<Uuid, (String, Option<Uuid>)>,
}

impl Story {
    pub async fn read_on(&mut self, db: &PgPool, tenant: TenantId, now: &Picture) -> Held {
        type Row = (i64, i64, String, Uuid, String, Option<Uuid>);
        let rows: Vec<Row> = sqlx::query_as(
            "select xid::text::bigint, seq, kind, room_id, data ->> 'status',
                coalesce(data #>> '{offer,agent_id}', data #>> '{agent,id}')::uuid
            from events
            where tenant_id = $1 and room_id is not null and kind like 'room.%' and (xid, seq) > ($2::text::xid8, $3)
            order by xid, seq",
        )
        .bind(tenant)
        .bind(self.after.0.to_string())
        .bind(self.after.1)
        .fetch_all(db)
        .await
        .unwrap();
        for (xid, seq, kind, room, status, agent) in rows {
            self.after = (xid, seq);
            let was = self.rooms.get(&room).map(|(status, agent)| (status.as_str(), *agent));
            let follows = match kind.as_str() {
                "room.opened" => was.is_none(),
                "room.queued" => status == "waiting",
                "room.offered" => status == "offered" && matches!(was, Some(("waiting", _)) | Some(("offered", _))),
                "room.accepted" => {
                    status == "active"
                        && matches!(was, Some(("waiting", _)) | Some(("offered" | "active", _)))
                        && (was.is_some_and(|it| it.0 == "waiting") || was.is_some_and(|it| it.1 == agent))
                }
                "room.offer_expired" | "room.declined" => {
                    status == "waiting" && was.is_some_and(|it| it.0 == "offered")
                }
                _ => true,
            };
            must!(
                follows && was.is_none_or(|it| it.0 != "closed"),
                "{kind} ({status}, {agent:?}) follows {was:?} in room {room}"
            );
            self.rooms.insert(room, (status, agent));
        }
        for room in &now.rooms {
            let told = self.rooms.get(&room.id);
            let true_now = (room.status.clone(), room.agent);
            must!(told == Some(&true_now), "the log says {told:?} of room {}, which is {true_now:?}", room.id);
        }
        let told_open = self.rooms.values().filter(|it| it.0 != "closed").count();
        must!(told_open == now.rooms.len(), "the log knows {told_open} open rooms of {}", now.rooms.len());
        Ok(())
    }
}

/// Every room's last decision says why it is where it is.
pub async fn explained(db: &PgPool, tenant: TenantId, now: &Picture) -> Held {
    let last: Vec<(Uuid, String, Option<Uuid>)> = sqlx::query_as(
        "select distinct on (room_id) room_id, decision, agent_id
        from routing_log
        where tenant_id = $1
        order by room_id, seq desc",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
    .unwrap();
    let last: HashMap<_, _> = last.into_iter().map(|(room, decision, agent)| (room, (decision, agent))).collect();
    for room in &now.rooms {
        let (decision, agent) = last.get(&room.id).ok_or(format!("room {} has no decision", room.id))?;
        let why: &[&str] = match room.status.as_str() {
            "offered" => &["offered", "transferred"],
            "active" => &["accepted", "assigned", "taken", "flagged"],
            _ => &[
                "queued",
                "held",
                "released",
                "declined",
                "lapsed",
                "withdrawn",
                "overflowed",
                "transferred",
                "returned",
            ],
        };
        let explains = why.contains(&decision.as_str()) && (room.status == "waiting" || *agent == room.agent);
        must!(
            explains,
            "room {} is {} ({:?}), and the last decision was {decision} ({agent:?})",
            room.id,
            room.status,
            room.agent
        );
    }
    Ok(())
}
