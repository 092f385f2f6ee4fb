//! The two logs as their readers follow them: what each says of a room can follow what it said before, ends where the table says, and
//! agrees with the other one.

use std::collections::HashMap;

use chatgate::{clock::Moment, ids::TenantId};
use chrono::TimeDelta;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    centre::Line,
    check::{Held, line_of, minutes, must},
    picture::Picture,
};

/// What has been read so far.
#[derive(Default)]
pub struct Story {
    after: (i64, i64),
    told: HashMap<Uuid, (String, Option<Uuid>)>,
    after_seq: i64,
    rooms: HashMap<Uuid, Place>,
}

/// Where a room is, by its decisions.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    status: &'static str,
    agent: Option<Uuid>,
    queue: Option<Uuid>,
    is_held: bool,
    /// To be offered to this agent next.
    goes_to: Option<Uuid>,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Decided {
    seq: i64,
    at: Moment,
    room_id: Uuid,
    decision: String,
    reason: Option<String>,
    queue_id: Option<Uuid>,
    agent_id: Option<Uuid>,
}

/// Which events tell of which decisions.
const TELLS: [(&str, &[&str]); 6] = [
    ("room.offered", &["offered"]),
    ("room.accepted", &["assigned", "accepted", "taken"]),
    ("room.declined", &["declined"]),
    ("room.offer_expired", &["lapsed", "withdrawn"]),
    ("room.transferred", &["transferred", "taken"]),
    ("room.closed", &["closed", "turned_away"]),
];

impl Story {
    /// Reads on what has been logged since `start`.
    pub async fn read_on(
        &mut self,
        db: &PgPool,
        tenant: TenantId,
        lines: &[Line],
        start: &Picture,
        now: &Picture,
    ) -> Held {
        let mut tally: HashMap<(Uuid, &str), i64> = HashMap::new();
        for (room, kind) in self.read_events(db, tenant, now).await? {
            if let Some((kind, _)) = TELLS.iter().find(|it| it.0 == kind) {
                *tally.entry((room, kind)).or_default() += 1;
            }
        }
        let decided: Vec<Decided> = sqlx::query_as(
            "select seq, at, room_id, decision, reason, queue_id, agent_id
            from routing_log
            where tenant_id = $1 and seq > $2
            order by seq",
        )
        .bind(tenant)
        .bind(self.after_seq)
        .fetch_all(db)
        .await
        .unwrap();
        for it in &decided {
            self.after_seq = it.seq;
            self.follow(it).map_err(|why| format!("{it:?}: {why}"))?;
            in_time(it, lines, start).map_err(|why| format!("{it:?}: {why}"))?;
            for (kind, _) in TELLS.iter().filter(|(_, by)| by.contains(&&*it.decision)) {
                *tally.entry((it.room_id, kind)).or_default() -= 1;
            }
        }
        for ((room, kind), more) in tally {
            must!(more == 0, "room {room} has {more} more {kind} than decisions that make it so");
        }
        for room in &now.rooms {
            let told = self.rooms.get(&room.id).ok_or_else(|| format!("room {} has no decision", room.id))?;
            let is_so = told.status == room.status
                && (told.agent, told.queue, told.is_held) == (room.agent_id, room.queue_id, room.is_held);
            must!(is_so, "the decisions say {told:?} of room {}, which is {room:?}", room.id);
        }
        limits(lines, start, now, &decided)
    }

    /// Events by room, with their kinds.
    async fn read_events(
        &mut self,
        db: &PgPool,
        tenant: TenantId,
        now: &Picture,
    ) -> Result<Vec<(Uuid, String)>, String> {
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
        let mut kinds = Vec::new();
        for (xid, seq, kind, room, status, agent) in rows {
            self.after = (xid, seq);
            let was = self.told.get(&room).map(|(status, agent)| (status.as_str(), *agent));
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
                // A room that is turned away is closed from the beginning.
                "room.closed" => status == "closed",
                _ => true,
            };
            must!(
                follows && was.is_none_or(|it| it.0 != "closed" || kind == "room.closed"),
                "{kind} ({status}, {agent:?}) follows {was:?} in room {room}"
            );
            self.told.insert(room, (status, agent));
            kinds.push((room, kind));
        }
        for room in &now.rooms {
            let told = self.told.get(&room.id);
            let true_now = (room.status.clone(), room.agent_id);
            must!(told == Some(&true_now), "the log says {told:?} of room {}, which is {true_now:?}", room.id);
        }
        let told_open = self.told.values().filter(|it| it.0 != "closed").count();
        must!(told_open == now.rooms.len(), "the log knows {told_open} open rooms of {}", now.rooms.len());
        Ok(kinds)
    }

    /// Takes one decision further, if it can be taken where the room is.
    fn follow(&mut self, it: &Decided) -> Held {
        let was = self.rooms.get(&it.room_id).cloned().unwrap_or_default();
        let waits = Place { status: "waiting", queue: it.queue_id, ..Place::default() };
        let (is_waiting, is_mine) = (was.status == "waiting", was.agent == it.agent_id);
        let here = was.queue == it.queue_id;
        let (may, is) = match it.decision.as_str() {
            "queued" => (was.status.is_empty(), waits),
            "held" => (was.status.is_empty() || is_waiting && here && !was.is_held, Place { is_held: true, ..waits }),
            "released" => (is_waiting && here && was.is_held, waits),
            "turned_away" => (was.status.is_empty(), Place { status: "closed", ..was.clone() }),
            "overflowed" => (was.status.is_empty() || is_waiting && !here && !was.is_held, waits),
            "offered" if it.reason.as_deref() == Some("transfer") => {
                (was.goes_to == it.agent_id && here, Place { status: "offered", agent: it.agent_id, ..waits })
            }
            "offered" => (is_waiting && here && !was.is_held, Place { status: "offered", agent: it.agent_id, ..waits }),
            "assigned" => (is_waiting && here && !was.is_held, Place { status: "active", agent: it.agent_id, ..waits }),
            "accepted" => (was.status == "offered" && here && is_mine, Place { status: "active", ..was.clone() }),
            "declined" | "lapsed" | "withdrawn" => (was.status == "offered" && here && is_mine, waits),
            "transferred" if it.agent_id.is_some() => {
                (was.is_open() && here && !is_mine, Place { goes_to: it.agent_id, ..was.clone() })
            }
            "transferred" => (was.is_open(), waits),
            "taken" => (was.is_open() && here, Place { status: "active", agent: it.agent_id, ..waits }),
            "flagged" => (was.status == "active" && here && is_mine, was.clone()),
            "returned" => (was.status == "active" && here && is_mine, waits),
            "closed" => (was.is_open() && here, Place { status: "closed", ..was.clone() }),
            _ => (false, was.clone()),
        };
        must!(may && was.goes_to.is_none_or(|_| it.decision == "offered"), "follows {was:?}");
        self.rooms.insert(it.room_id, is);
        Ok(())
    }
}

impl Place {
    fn is_open(&self) -> bool {
        !matches!(self.status, "" | "closed")
    }
}

/// What the clock did was due.
fn in_time(it: &Decided, lines: &[Line], start: &Picture) -> Held {
    let since = |of: fn(&super::picture::Room) -> Option<Moment>, after: Option<TimeDelta>| {
        let from = start.room(it.room_id).and_then(of);
        let is_due = from.zip(after).is_some_and(|(from, after)| from + after <= it.at);
        if is_due { Ok(()) } else { Err(format!("too early: counts from {from:?}")) }
    };
    let queue = start.room(it.room_id).and_then(|it| it.queue_id);
    let settings = || line_of(lines, queue).map(|it| &it.settings);
    let minutes_of = |silent: Option<(i32, Option<i32>)>| silent.and_then(|it| it.1).map(minutes);
    match (it.decision.as_str(), it.reason.as_deref()) {
        ("lapsed", _) => since(|it| it.offer_expires_at, Some(TimeDelta::zero())),
        ("closed", Some("inactive")) => since(|it| it.reminded_at, minutes_of(settings()?.contact_silent)),
        ("returned", Some("agent_silent")) => since(|it| it.agent_silent_at, minutes_of(settings()?.agent_silent)),
        ("overflowed", Some("waited")) => {
            since(|it| it.queued_at, settings()?.overflow.map(|it| TimeDelta::seconds(it.0.into())))
        }
        _ => Ok(()),
    }
}

/// No more rooms come into a queue than may wait there, and nobody is turned away who might have come in.
fn limits(lines: &[Line], start: &Picture, now: &Picture, decided: &[Decided]) -> Held {
    let of = |room: Uuid| decided.iter().filter(move |it| it.room_id == room);
    for line in lines {
        let Some(most) = line.settings.max_waiting else { continue };
        let waits = |it: &&super::picture::Room| it.status == "waiting" && it.queue_id == Some(line.id.0);
        // All of these have waited here since they came.
        let still =
            |room: Uuid| of(room).all(|it| matches!(&*it.decision, "queued" | "held" | "released" | "overflowed"));
        let here: Vec<_> = now.rooms.iter().filter(waits).filter(|it| still(it.id)).collect();
        let came = |room: Uuid| {
            of(room).any(|it| it.decision != "released" && start.room(room).is_none_or(|_| it.decision == "overflowed"))
        };
        let is_right = !here.iter().any(|it| came(it.id)) || here.len() <= usize::try_from(most).unwrap();
        must!(is_right, "{} rooms wait in queue {}, where {most} may", here.len(), line.id);
    }
    for away in decided.iter().filter(|it| it.reason.as_deref() == Some("queue_full") && it.decision == "turned_away") {
        let line = line_of(lines, away.queue_id)?;
        let overflow = line.settings.overflow.map(|it| &lines[usize::from(it.1) % lines.len()]);
        for line in std::iter::once(line).chain(overflow) {
            let mut rooms: Vec<_> =
                start.rooms.iter().filter(|it| it.queue_id == Some(line.id.0)).map(|it| it.id).collect();
            let others = decided.iter().filter(|it| it.queue_id == Some(line.id.0) && it.decision != "turned_away");
            rooms.extend(others.map(|it| it.room_id));
            rooms.sort_unstable();
            rooms.dedup();
            let may = line.settings.max_waiting.map(|it| usize::try_from(it).unwrap());
            must!(
                may.is_some_and(|may| rooms.len() >= may),
                "room {} was turned away, and no more than {} waited in queue {}",
                away.room_id,
                rooms.len(),
                line.id
            );
        }
    }
    Ok(())
}
