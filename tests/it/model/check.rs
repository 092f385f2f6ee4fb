//! What must hold, said once for all histories.

use std::collections::{HashMap, HashSet};

use chatgate::clock::Moment;
use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    case::Act,
    centre::Line,
    picture::{Person, Picture, Room},
};

pub type Held = Result<(), String>;

macro_rules! must {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}
pub(super) use must;

pub fn line_of(lines: &[Line], queue: Option<Uuid>) -> Result<&Line, String> {
    lines.iter().find(|it| Some(it.id.0) == queue).ok_or_else(|| format!("no queue {queue:?}"))
}

pub fn minutes(it: i32) -> TimeDelta {
    TimeDelta::minutes(it.into())
}

/// At every moment: nobody has more rooms than seats, nobody is rung who is not ready. `slack` knows who had more when their seats were
/// taken away.
pub fn always(now: &Picture, slack: &mut HashMap<Uuid, i64>) -> Held {
    for it in &now.people {
        let most = slack.entry(it.id).or_default();
        *most = it.seats.max(*most);
        must!(it.taken <= *most, "agent {} has {} rooms on {} seats", it.id, it.taken, it.seats);
        *most = it.taken;
        let (counted, chats) = it.chats;
        must!(i64::from(counted) == chats, "agent {} has {chats} rooms, and {counted} are counted", it.id);
    }
    for room in &now.rooms {
        let who = now.people.iter().find(|it| Some(it.id) == room.agent_id);
        let rings = room.status == "offered";
        must!(!rings || who.is_some_and(|it| it.is_ready), "room {} rings at somebody who is not ready", room.id);
        must!(!room.is_held || room.status == "waiting", "room {} is {} and held", room.id, room.status);
    }
    Ok(())
}

/// Once everything has settled: no offer has outlived its time, no room waits while somebody could take it, or is held while the hours
/// are open, or stays where others have room for it, and no silence goes unnoticed.
pub fn settled(it: &Picture, lines: &[Line], now: Moment) -> Held {
    for room in &it.rooms {
        must!(room.offer_expires_at.is_none_or(|at| at > now), "the offer of room {} is over and still rings", room.id);
        for person in it.people.iter().filter(|person| room.status == "waiting" && fits(room, person)) {
            must!(person.taken >= person.seats, "room {} waits, and agent {} is free", room.id, person.id);
        }
        let widget = lines.iter().find(|it| it.widget.0 == room.widget_id).ok_or("no such widget")?;
        must!(!room.is_held || !widget.is_open(now), "room {} is held, and the hours are open", room.id);
        let line = line_of(lines, room.queue_id)?;
        if let (Some((after_s, to)), "waiting", false) = (line.settings.overflow, &*room.status, room.is_held) {
            let to = &lines[usize::from(to) % lines.len()];
            let waits = it.rooms.iter().filter(|it| it.status == "waiting" && it.queue_id == Some(to.id.0)).count();
            let is_full = to.settings.max_waiting.is_some_and(|most| waits >= usize::try_from(most).unwrap());
            let is_due = room.queued_at.is_some_and(|at| at + TimeDelta::seconds(after_s.into()) <= now);
            must!(!is_due || is_full || to.id == line.id, "room {} should have gone on to {}", room.id, to.id);
        }
        silence(room, line, now)?;
    }
    Ok(())
}

/// The silence of a room's contact and agent is noticed in time, never too early, and counts from when the agent got the room at the earliest.
fn silence(room: &Room, line: &Line, now: Moment) -> Held {
    for (who, settings, since, noticed) in [
        ("contact", line.settings.contact_silent, room.answered_at, room.reminded_at),
        ("agent", line.settings.agent_silent, room.unanswered_since, room.agent_silent_at),
    ] {
        let id = room.id;
        let counts = settings.filter(|_| room.status == "active").zip(since);
        let Some(((first, second), since)) = counts else {
            must!(noticed.is_none(), "the {who} of room {id} is found silent, but is not");
            continue;
        };
        let due = since.max(room.accepted_at.ok_or("active and never accepted")?) + minutes(first);
        match noticed {
            None => must!(due > now, "the {who} of room {id} is silent since {since}, and nobody notices"),
            Some(at) => {
                must!(at >= due, "the {who} of room {id} is silent at {at}, but has time until {due}");
                let is_over = second.is_some_and(|it| at + minutes(it) <= now);
                must!(!is_over, "the {who} of room {id} is silent for too long, and nothing follows");
            }
        }
    }
    Ok(())
}

fn fits(room: &Room, person: &Person) -> bool {
    let serves = room.queue_id.is_some_and(|queue| person.serves.contains_key(&queue));
    person.is_ready && serves && !room.is_held && !room.passed_by.contains(&person.id)
}

/// What settling did: whoever was given a room was given the first of those that waited, nobody who goes before them was free, and whom
/// the contact had goes before everybody.
pub fn order(before: &Picture, after: &Picture, lines: &[Line]) -> Held {
    let rank =
        |room: &Room| (line_of(lines, room.queue_id).map_or(0, |it| it.settings.priority), room.place_at, room.id);
    let taken = |it: &Room| it.agent_id.filter(|_| it.status == "active");
    let lost = |was: &Room| taken(was).filter(|_| after.room(was.id).and_then(taken) != taken(was));
    // They had no free seat when the others were chosen.
    let freed: HashSet<Uuid> = before.rooms.iter().filter_map(lost).collect();
    // They may have been given rooms first, which came back when they were found to be gone.
    let is_ready = |id: Uuid| after.people.iter().any(|it| it.id == id && it.is_ready);
    let gone: Vec<_> = before.people.iter().filter(|it| it.is_ready && !is_ready(it.id)).collect();
    for room in &after.rooms {
        let (Some(was), Some(agent), Some(queue)) = (before.room(room.id), room.agent_id, room.queue_id) else {
            continue;
        };
        if was.agent_id == room.agent_id {
            continue;
        }
        let stayed = was.queue_id == room.queue_id;
        let again = stayed && was.passed_by.contains(&agent);
        must!(!again, "room {} rings again at agent {agent}, who passed on it", room.id);
        let agent = after.people.iter().find(|it| it.id == agent).ok_or("nobody")?;
        for left in after.rooms.iter().filter(|it| it.status == "waiting" && fits(it, agent)) {
            let waited = before.room(left.id).is_some_and(|it| {
                it.status == "waiting"
                    && !it.is_held
                    && it.queue_id == left.queue_id
                    && !it.passed_by.contains(&agent.id)
                    && !gone.iter().any(|gone| fits(it, gone))
            });
            must!(
                !waited || rank(left) > rank(room),
                "room {} was given before {}, which goes first",
                room.id,
                left.id
            );
        }
        let passed = |it: &Person| stayed && was.passed_once.contains(&it.id);
        let could = |it: &Person| fits(room, it) && it.taken < it.seats && !passed(it) && !freed.contains(&it.id);
        let sticky = line_of(lines, room.queue_id)?.settings.sticky_minutes;
        let had =
            room.had.filter(|_| room.had_until.is_some_and(|at| at >= room.opened_at - minutes(sticky)) && sticky > 0);
        if had == Some(agent.id) && !passed(agent) {
            continue;
        }
        let goes_first = after.people.iter().find(|it| Some(it.id) == had && could(it));
        must!(goes_first.is_none(), "room {} went past agent {had:?}, whom the contact had", room.id);
        let Some(level) = agent.serves.get(&queue) else { continue };
        for better in after.people.iter().filter(|it| could(it)) {
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

/// A room that was not transferred keeps its place through everything that happened to it while it waited, was held or rang. One that
/// comes back from its agent by itself goes before all others.
pub fn places(before: &Picture, after: &Picture, acts: &[(u8, Act)]) -> Held {
    let moved = |at: usize| {
        acts.iter()
            .any(|(_, act)| matches!(act, Act::ToQueue(room, _) if usize::from(*room) % before.rooms.len() == at))
    };
    for (at, was) in before.rooms.iter().enumerate() {
        let Some(room) = after.room(was.id).filter(|it| it.status != "active") else { continue };
        if was.status != "active" && !moved(at) {
            must!(room.place_at == was.place_at, "room {} lost its place {at}", room.id);
        }
        if was.status != "active" || room.status != "waiting" || !acts.is_empty() {
            continue;
        }
        let waits_here = |it: &&Room| it.status == "waiting" && it.queue_id == room.queue_id;
        let stayed = |it: &&Room| before.room(it.id).as_ref().is_some_and(waits_here);
        let first = after.rooms.iter().filter(waits_here).filter(stayed).map(|it| it.place_at).min();
        must!(first.is_none_or(|it| room.place_at < it), "room {} came back, but not to the front", room.id);
    }
    Ok(())
}

/// Who wrote while the hours were closed is held, or was turned away; nobody but a person lets in who is held. The acts changed no hours.
pub fn hours(before: &Picture, after: &Picture, lines: &[Line], acts: &[(u8, Act)], now: Moment) -> Held {
    for room in &after.rooms {
        let line = lines.iter().find(|it| it.widget.0 == room.widget_id).ok_or("no such widget")?;
        let Some(was) = before.room(room.id) else {
            let is_right = line.is_open(now) || line.settings.holds && room.is_held;
            must!(is_right, "room {} was let in while the hours were closed", room.id);
            continue;
        };
        let let_in = was.is_held && !room.is_held && room.status == "waiting" && was.queue_id == room.queue_id;
        must!(
            !let_in || !acts.is_empty() || line.is_open(now),
            "room {} is let in while the hours are closed",
            room.id
        );
    }
    Ok(())
}
