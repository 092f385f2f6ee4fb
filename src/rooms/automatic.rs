//! The one decider for texts that nobody typed: opening, closing, queued, waiting, silence, offline and error texts. Each goes out at most once for its
//! occasion, never outside the standard window (the HUMAN_AGENT tag is for people), and never as an answer to an echo or a standby event.

use chrono::TimeDelta;
use sqlx::PgConnection;

use super::{
    Closed, Direction, Status, WindowMode,
    say::{self, Writer},
    store::{self, LockedRoom, TextFacts},
    window,
};
use crate::{
    channels::{Content, Field},
    clock::Moment,
    hours::{Hours, LocalTime, Schedule},
    ids::TenantId,
    widgets::texts::{self, Texts},
};

/// How long the error text is not said again in a room: two machines that answer each other must not go on.
const ERROR_PAUSE: TimeDelta = TimeDelta::hours(1);

/// Why a text goes out.
#[derive(Clone, Debug)]
pub enum Occasion<'a> {
    /// An agent took the room for the first time.
    Opening {
        /// The agent's name.
        agent: &'a str,
    },
    /// A person closed the room.
    Closing {
        /// Their name.
        agent: &'a str,
    },
    /// The room entered its queue.
    Queued,
    /// The contact wrote while the hours are closed.
    Offline(&'a Closed),
    /// The contact sent something that cannot be handled.
    Error,
    /// The queue was full; the room is closed.
    Full {
        /// The queue's text.
        text: &'a str,
    },
    /// The room has to wait; the caller notes when it was told.
    Waiting {
        /// The queue's text.
        text: &'a str,
        /// The room's place, from 1.
        position: i64,
    },
    /// The contact has not answered; the caller notes that they were reminded.
    Silent {
        /// The queue's text.
        text: &'a str,
    },
}

/// Says what the occasion calls for, if anything.
///
/// # Errors
/// The database's.
pub async fn say(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &mut LockedRoom,
    occasion: Occasion<'_>,
    now: Moment,
) -> sqlx::Result<()> {
    let facts = store::load_text_facts(tx, tenant, room.id).await?;
    let mut next_open = None;
    let (template, agent) = match &occasion {
        Occasion::Opening { .. } if room.opening_sent => return Ok(()),
        Occasion::Opening { agent } => {
            store::mark_opening_sent(tx, tenant, room.id).await?;
            room.opening_sent = true;
            (text_of(&facts, "opening"), *agent)
        }
        Occasion::Closing { agent } => (text_of(&facts, "closing"), *agent),
        Occasion::Queued => (text_of(&facts, "queued"), ""),
        Occasion::Offline(closed) => {
            if closed.message.trim().is_empty()
                || !store::mark_offline_told(tx, tenant, room.contact, closed.since).await?
            {
                return Ok(());
            }
            next_open = Some(closed.next_open.clone());
            (closed.message.clone(), "")
        }
        Occasion::Full { text } | Occasion::Waiting { text, .. } | Occasion::Silent { text } => {
            ((*text).to_owned(), "")
        }
        // In a closed room somebody has said already that nobody answers.
        Occasion::Error if room.status == Status::Closed => return Ok(()),
        Occasion::Error => {
            let text = text_of(&facts, "error");
            if text.trim().is_empty()
                || !store::files::mark_error_told(tx, tenant, room.id, now - ERROR_PAUSE, now).await?
            {
                return Ok(());
            }
            (text, "")
        }
    };
    let position = if let Occasion::Waiting { position, .. } = &occasion { Some(*position) } else { None };
    let is_open = room.channel != "messenger" || window(room.opened, false, now).mode == WindowMode::Standard;
    if !is_open || room.elsewhere(now).is_some() {
        return Ok(());
    }
    let text = filled(tx, tenant, room, &facts, &template, Words { agent, next_open, position }, now).await?;
    if text.is_empty() {
        return Ok(());
    }
    let writer = Writer::system(&facts.display_name);
    say::write(tx, tenant, room, &writer, Direction::Outbound, &Content::Text { text }, now).await?;
    Ok(())
}

/// The widget's words that ask for a field in an agent's name; the standard ones if it has none.
///
/// # Errors
/// The database's.
pub async fn prompt(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &LockedRoom,
    field: Field,
    agent: &str,
    now: Moment,
) -> sqlx::Result<String> {
    let (facts, standard) = (store::load_text_facts(tx, tenant, room.id).await?, Texts::default());
    let (name, standard) = match field {
        Field::Email => ("email_prompt", standard.email_prompt),
        Field::Phone => ("phone_prompt", standard.phone_prompt),
    };
    let template = text_of(&facts, name);
    let text = filled(tx, tenant, room, &facts, &template, Words { agent, ..Words::default() }, now).await?;
    Ok(if text.trim().is_empty() { standard } else { text })
}

/// What goes into a text beside what the database knows.
#[derive(Default)]
struct Words<'a> {
    agent: &'a str,
    /// None: looked up.
    next_open: Option<Option<LocalTime>>,
    position: Option<i64>,
}

async fn filled(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &LockedRoom,
    facts: &TextFacts,
    template: &str,
    words: Words<'_>,
    now: Moment,
) -> sqlx::Result<String> {
    let next_open = match words.next_open {
        Some(known) => known,
        None if texts::has(template, "next_open") => opening(tx, tenant, room, now).await?,
        None => None,
    };
    let next_open = next_open.map(|it| it.spoken(facts.locale.as_deref())).unwrap_or_default();
    Ok(fill(template, facts, words.agent, &next_open, words.position))
}

/// The next opening of the room's widget, on the clock of its hours; nothing while it is open.
async fn opening(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &LockedRoom,
    now: Moment,
) -> sqlx::Result<Option<LocalTime>> {
    let schedule = store::find_schedule(tx, tenant, room.widget).await?;
    // One that cannot be read counts as always open, as everywhere.
    let hours = schedule.and_then(|it| serde_json::from_value::<Schedule>(it).ok()).and_then(|it| it.parse().ok());
    Ok(hours.and_then(|it: Hours| it.status(now).next_open.map(|at| it.local(at, now))))
}

fn text_of(facts: &TextFacts, name: &str) -> String {
    facts.texts.get(name).and_then(|it| it.as_str()).unwrap_or_default().to_owned()
}

/// Puts names into a text.
fn fill(template: &str, facts: &TextFacts, agent: &str, next_open: &str, position: Option<i64>) -> String {
    let name = facts.name.as_deref().unwrap_or_default();
    let first = facts.first_name.as_deref().or(name.split_whitespace().next()).unwrap_or_default();
    texts::fill(template, |placeholder| {
        let value = match placeholder {
            "first_name" => first,
            "name" => name,
            "display_name" => &facts.display_name,
            "agent_name" => agent,
            "next_open" => next_open,
            "position" => return position.map(|it| it.to_string()),
            _ => return None,
        };
        Some(value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_name_is_taken_from_the_name() {
        let facts = |name: Option<&str>| TextFacts {
            texts: serde_json::json!({}),
            display_name: "Acme".to_owned(),
            name: name.map(str::to_owned),
            first_name: None,
            locale: None,
        };
        let template = "Hello {first_name}, {agent_name} of {display_name} here.";
        assert_eq!(fill(template, &facts(Some("Anna Bell")), "Ben", "", None), "Hello Anna, Ben of Acme here.");
        assert_eq!(fill(template, &facts(None), "Ben", "", None), "Hello, Ben of Acme here.");
    }
}
