//! The story of a room's routing, for people: what was decided, by whom and why, in data and in sentences.

use std::collections::{BTreeSet, HashMap};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    store::story as store,
    why::{Grounds, Skipped, SkippedFor, Unavailable},
};
use crate::{
    clock::{Moment, millis, millis_opt},
    ids::{RoomId, TenantId},
    rooms::{
        self, Named,
        decisions::{Decision, Reason},
        store::decisions::Noted,
    },
};

/// How a room came to where it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomRouting)]
pub struct Story {
    /// The room.
    pub room_id: RoomId,
    /// The zone of the times in the sentences.
    pub time_zone: String,
    /// What was decided, oldest first.
    pub items: Vec<Step>,
    /// Give it as `after` to go on; null at the end.
    pub next: Option<String>,
    /// Why it waits at this moment; null unless it does.
    pub waits: Option<Waits>,
}

/// One decision.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoutingDecision)]
pub struct Step {
    /// When.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = DateTime<Utc>)]
    pub at: Moment,
    /// What.
    pub decision: Decision,
    /// Why.
    pub reason: Option<Reason>,
    /// The queue in which it was decided, or to which it went.
    pub queue: Option<Named>,
    /// The agent it is about.
    pub agent: Option<Named>,
    /// The person who decided; null: the gateway did.
    pub by: Option<Named>,
    /// Seconds that the room had waited, where this answered or lost it.
    pub waited_s: Option<i32>,
    /// What was known of the agents, where one was chosen.
    pub grounds: Option<GroundsView>,
    /// All of it in words.
    #[schema(
        example = "Offered to Ben in Sales (idle longest): ready, 2 of 4 seats, idle 93 s; Cleo skipped: at the limit."
    )]
    pub sentence: String,
}

/// What was known of the agents.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoutingGrounds)]
pub struct GroundsView {
    /// Seats of the chosen agent.
    pub seats: i64,
    /// Those taken before this room.
    pub taken: i64,
    /// Seconds without anything new to do.
    pub idle_s: i64,
    /// Priority in the queue, 1 first.
    pub priority: i32,
    /// How many others had a free seat, too.
    pub also_free: usize,
    /// Who was not asked; the first few.
    pub skipped: Vec<SkippedView>,
    /// How many more were not asked.
    pub more_skipped: usize,
}

/// An agent who was not asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SkippedAgent)]
pub struct SkippedView {
    /// Who.
    pub agent: Named,
    /// Why.
    pub why: SkippedFor,
    /// Since when they are away or offline.
    #[serde(serialize_with = "millis_opt")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub since: Option<Moment>,
    /// Their seats, where all are taken.
    pub seats: Option<i64>,
}

/// Why a room waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoutingWaits)]
pub struct Waits {
    /// The queue's members who cannot take it; the first few.
    pub skipped: Vec<SkippedView>,
    /// How many more there are.
    pub more_skipped: usize,
    /// All of it in words.
    pub sentence: String,
}

/// The story of a room that the caller knows to be the tenant's. `after` is the last `seq` seen.
///
/// # Errors
/// The database's.
pub async fn tell(
    db: &PgPool,
    tenant: TenantId,
    room: RoomId,
    after: i64,
    limit: i64,
    zone: &TimeZone,
    now: Moment,
) -> sqlx::Result<Story> {
    let mut noted = rooms::store::decisions::list(db, tenant, room, after, limit + 1).await?;
    let has_more = i64::try_from(noted.len()).unwrap_or(0) > limit;
    noted.truncate(usize::try_from(limit).unwrap_or(0));
    let waiting = store::find_waiting(db, tenant, room, now).await?;
    let names = Names::load(db, tenant, &noted, waiting.as_ref()).await?;
    let teller = Teller { names: &names, zone };
    let next = noted.last().filter(|_| has_more).map(|it| it.seq.to_string());
    let items = noted.into_iter().map(|it| teller.step(it)).collect();
    let waits = waiting.map(|it| teller.waits(&it));
    Ok(Story { room_id: room, time_zone: zone.iana_name().unwrap_or("UTC").to_owned(), items, next, waits })
}

/// A waiting room and who cannot take it.
#[derive(Clone, Debug)]
pub struct WaitingFor {
    /// Its queue.
    pub queue: Uuid,
    /// It waits for the opening.
    pub is_held: bool,
    /// Members who cannot take it.
    pub unavailable: Unavailable,
    /// Members who could, had the next decision been taken.
    pub free: i64,
}

/// Display names of whoever is in the story.
struct Names(HashMap<Uuid, String>);

impl Names {
    async fn load(db: &PgPool, tenant: TenantId, noted: &[Noted], waiting: Option<&WaitingFor>) -> sqlx::Result<Self> {
        let mut ids: BTreeSet<Uuid> = noted.iter().flat_map(|it| [it.queue, it.agent, it.by]).flatten().collect();
        for grounds in noted.iter().filter_map(grounds) {
            ids.extend(grounds.skipped.iter().map(|it| it.agent));
        }
        if let Some(waiting) = waiting {
            ids.insert(waiting.queue);
            ids.extend(waiting.unavailable.first.iter().map(|it| it.agent));
        }
        Ok(Self(store::list_names(db, tenant, &ids.into_iter().collect::<Vec<_>>()).await?))
    }

    fn of(&self, id: Uuid) -> Named {
        let name = self.0.get(&id).cloned().unwrap_or_else(|| "somebody who has left".to_owned());
        Named { id, name }
    }
}

fn grounds(noted: &Noted) -> Option<Grounds> {
    noted.detail.clone().and_then(|it| serde_json::from_value(it).ok())
}

struct Teller<'a> {
    names: &'a Names,
    zone: &'a TimeZone,
}

impl Teller<'_> {
    fn step(&self, it: Noted) -> Step {
        let name = |id: Option<Uuid>| id.map(|id| self.names.of(id));
        let grounds = grounds(&it).map(|it| GroundsView {
            seats: it.seats,
            taken: it.taken,
            idle_s: it.idle_s,
            priority: it.level,
            also_free: it.also_free,
            skipped: self.skipped(&it.skipped),
            more_skipped: it.more_skipped,
        });
        let mut step = Step {
            at: it.at,
            decision: it.decision,
            reason: it.reason,
            queue: name(it.queue),
            agent: name(it.agent),
            by: name(it.by),
            waited_s: it.wait_s,
            grounds,
            sentence: String::new(),
        };
        step.sentence = self.sentence(&step);
        step
    }

    fn skipped(&self, skipped: &[Skipped]) -> Vec<SkippedView> {
        let view = |it: &Skipped| SkippedView {
            agent: self.names.of(it.agent),
            why: it.why,
            since: it.since,
            seats: it.seats,
        };
        skipped.iter().map(view).collect()
    }

    fn waits(&self, it: &WaitingFor) -> Waits {
        let queue = self.names.of(it.queue).name;
        let skipped = self.skipped(&it.unavailable.first);
        let more_skipped = it.unavailable.count.saturating_sub(skipped.len());
        let sentence = if it.is_held {
            format!("Waits for the opening of {queue}.")
        } else if it.free > 0 {
            format!(
                "Waits in {queue} and is about to be given to somebody, or for those who passed on it to be asked again."
            )
        } else if it.unavailable.count == 0 {
            format!("Waits: {queue} has no agents.")
        } else {
            format!("Waits: nobody in {queue} is free{}.", self.others(&skipped, more_skipped))
        };
        Waits { skipped, more_skipped, sentence }
    }

    fn sentence(&self, step: &Step) -> String {
        let queue = step.queue.as_ref().map_or("no queue", |it| it.name.as_str());
        let agent = step.agent.as_ref().map_or("nobody", |it| it.name.as_str());
        let by = step.by.as_ref().map_or("the gateway", |it| it.name.as_str());
        let after = step.waited_s.map_or_else(String::new, |it| format!(" after {it} s"));
        let chosen = |verb: &str| {
            let why = match step.reason {
                Some(Reason::LongestIdle) => " (idle longest)",
                Some(Reason::LeastBusy) => " (least busy)",
                Some(Reason::RoundRobin) => " (next in turn)",
                Some(Reason::Sticky) => " (the contact had them before)",
                Some(Reason::Transfer) => " (a colleague chose them)",
                _ => "",
            };
            let facts = step.grounds.as_ref().map_or_else(String::new, |it| self.facts(it));
            format!("{verb} {agent} in {queue}{why}{after}{facts}.")
        };
        match step.decision {
            Decision::Queued => format!("Entered {queue}."),
            Decision::Held => format!("Came while {queue} was closed: waits for the opening and keeps its place."),
            Decision::Released => format!("{queue} opened: may be offered from now on."),
            Decision::TurnedAway => match step.reason {
                Some(Reason::QueueFull) => format!("Kept, but closed at once: as many rooms wait in {queue} as may."),
                Some(Reason::Elsewhere) => {
                    "Keeps what the Page wrote elsewhere, and closed at once: nobody had asked anything.".to_owned()
                }
                Some(Reason::NoRoute) => "Kept, but closed at once: the widget leads to no queue.".to_owned(),
                _ => "Kept, but closed at once: it came outside working hours.".to_owned(),
            },
            Decision::Offered => chosen("Offered to"),
            Decision::Assigned => chosen("Given to"),
            Decision::Accepted => format!("{agent} accepted{after}."),
            Decision::Declined => format!("{agent} declined: back to its place in {queue}."),
            Decision::Lapsed if step.reason == Some(Reason::SetAway) => {
                format!("{agent} did not answer in time and was set away: back to its place in {queue}.")
            }
            Decision::Lapsed => format!("{agent} did not answer in time: back to its place in {queue}."),
            Decision::Withdrawn => {
                let what = if step.reason == Some(Reason::Away) { "away" } else { "offline" };
                format!("{agent} went {what}: the offer was taken back, and the room kept its place in {queue}.")
            }
            Decision::Overflowed => match step.reason {
                Some(Reason::QueueFull) => format!("Sent on to {queue}: as many rooms wait as may."),
                _ => format!("Waited too long and went to {queue}, where it keeps its place."),
            },
            Decision::Transferred if step.agent.is_some() => format!("{by} handed it over to {agent}."),
            Decision::Transferred => format!("{by} sent it to {queue}."),
            Decision::Taken if step.agent.as_ref().map(|it| it.id) == step.by.as_ref().map(|it| it.id) => {
                format!("{agent} took it{after}.")
            }
            Decision::Taken => format!("{by} gave it to {agent}{after}."),
            Decision::Flagged => format!("{agent} leaves the contact without an answer."),
            Decision::Returned => {
                let why = match step.reason {
                    Some(Reason::AgentSilent) => "left the contact without an answer",
                    _ => "has been gone too long",
                };
                format!("{agent} {why}: back to the front of {queue}.")
            }
            Decision::Closed => match step.reason {
                Some(Reason::Agent | Reason::Supervisor) => format!("{by} closed it{after}."),
                Some(Reason::Inactive) => "Closed: the contact was silent too long.".to_owned(),
                Some(Reason::ContactGone) => format!("Closed{after}: the contact cannot be reached any more."),
                Some(Reason::Erased) => format!("Closed{after}: the contact's data was erased."),
                _ => format!("Closed{after}."),
            },
        }
    }

    fn facts(&self, it: &GroundsView) -> String {
        let also = match it.also_free {
            0 => String::new(),
            1 => "; one more was free".to_owned(),
            more => format!("; {more} more were free"),
        };
        let others = self.others(&it.skipped, it.more_skipped);
        format!(": ready, {} of {} seats, idle {} s{also}{others}", it.taken, it.seats, it.idle_s)
    }

    fn others(&self, skipped: &[SkippedView], more: usize) -> String {
        let mut words = String::new();
        for it in skipped {
            let since = it.since.map_or_else(String::new, |at| format!(" since {}", self.time(at)));
            let why = match it.why {
                SkippedFor::AtLimit => "at the limit".to_owned(),
                SkippedFor::Passed => "passed on it".to_owned(),
                SkippedFor::Away => format!("away{since}"),
                SkippedFor::Offline => format!("offline{since}"),
            };
            words.push_str(&format!("; {} skipped: {why}", it.agent.name));
        }
        if more > 0 {
            words.push_str(&format!("; {more} more skipped"));
        }
        words
    }

    fn time(&self, at: Moment) -> String {
        let at = Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::MIN);
        at.to_zoned(self.zone.clone()).strftime("%H:%M").to_string()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn an_offer_is_told_with_names_numbers_and_local_times() {
        let id = Uuid::from_u128;
        let names = [(1, "Ben"), (2, "Cleo"), (3, "Dora"), (7, "Sales")];
        let names = Names(names.into_iter().map(|(at, name)| (id(at), name.to_owned())).collect());
        let zone = TimeZone::get("Europe/Istanbul").unwrap();
        let skipped = |agent, why, since| Skipped { agent: id(agent), why, since, seats: None };
        let away = Moment::UNIX_EPOCH + TimeDelta::days(365 * 55) + TimeDelta::minutes(6 * 60 + 12);
        let grounds = Grounds {
            seats: 4,
            taken: 2,
            idle_s: 93,
            level: 1,
            also_free: 0,
            skipped: vec![skipped(2, SkippedFor::AtLimit, None), skipped(3, SkippedFor::Away, Some(away))],
            more_skipped: 2,
        };
        let noted = Noted {
            seq: 1,
            at: away,
            decision: Decision::Offered,
            reason: Some(Reason::LongestIdle),
            queue: Some(id(7)),
            agent: Some(id(1)),
            by: None,
            wait_s: None,
            detail: serde_json::to_value(&grounds).ok(),
        };
        let step = Teller { names: &names, zone: &zone }.step(noted);
        assert_eq!(
            step.sentence,
            "Offered to Ben in Sales (idle longest): ready, 2 of 4 seats, idle 93 s; Cleo skipped: at the limit; \
            Dora skipped: away since 09:12; 2 more skipped."
        );
    }
}
