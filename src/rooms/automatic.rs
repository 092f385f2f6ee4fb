//! The one decider for texts that nobody typed: opening, closing, queued, offline and error texts. Each goes out at most once for its
//! occasion, never outside the standard window (the HUMAN_AGENT tag is for people), and never as an answer to an echo or a standby event.

use sqlx::PgConnection;

use super::{
    Closed, Direction, WindowMode,
    say::{self, Writer},
    store::{self, LockedRoom, TextFacts},
    window,
};
use crate::{channels::Content, clock::Moment, ids::TenantId};

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
    let (template, agent, next_open) = match &occasion {
        Occasion::Opening { .. } if room.opening_sent => return Ok(()),
        Occasion::Opening { agent } => {
            store::mark_opening_sent(tx, tenant, room.id).await?;
            room.opening_sent = true;
            (text_of(&facts, "opening"), *agent, "")
        }
        Occasion::Closing { agent } => (text_of(&facts, "closing"), *agent, ""),
        Occasion::Queued => (text_of(&facts, "queued"), "", ""),
        Occasion::Offline(closed) => {
            if closed.message.trim().is_empty()
                || !store::mark_offline_told(tx, tenant, room.contact, closed.since).await?
            {
                return Ok(());
            }
            (closed.message.clone(), "", closed.next_open.as_str())
        }
    };
    let is_open = room.channel != "messenger" || window(room.last_inbound_at, false, now).mode == WindowMode::Standard;
    let text = fill(&template, &facts, agent, next_open);
    if text.is_empty() || !is_open {
        return Ok(());
    }
    let writer = Writer::system(&facts.display_name);
    say::write(tx, tenant, room, &writer, Direction::Outbound, &Content::Text { text }, now).await?;
    Ok(())
}

fn text_of(facts: &TextFacts, name: &str) -> String {
    facts.texts.get(name).and_then(|it| it.as_str()).unwrap_or_default().to_owned()
}

/// Puts names into a text. A placeholder without a value goes, and with it the space before it: "Hello {first_name}," → "Hello,".
fn fill(template: &str, facts: &TextFacts, agent: &str, next_open: &str) -> String {
    let name = facts.name.as_deref().unwrap_or_default();
    let first = facts.first_name.as_deref().or(name.split_whitespace().next()).unwrap_or_default();
    let values = [
        ("{first_name}", first),
        ("{name}", name),
        ("{display_name}", &facts.display_name),
        ("{agent_name}", agent),
        ("{next_open}", next_open),
    ];
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    // One pass, so that a name that looks like a placeholder is not filled again.
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
            Some((placeholder, value)) => {
                if value.is_empty() && out.ends_with(' ') {
                    out.pop();
                }
                out.push_str(value);
                rest = &rest[placeholder.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, name: Option<&str>, expected: &str) {
        let facts = TextFacts {
            texts: serde_json::json!({}),
            display_name: "Acme".to_owned(),
            name: name.map(str::to_owned),
            first_name: None,
        };
        assert_eq!(fill(template, &facts, "Ben", ""), expected);
    }

    #[test]
    fn placeholders_are_filled_once_and_vanish_without_a_value() {
        check(
            "Hello {first_name}, {agent_name} of {display_name} here.",
            Some("Anna Bell"),
            "Hello Anna, Ben of Acme here.",
        );
        check("Hello {first_name}, welcome.", None, "Hello, welcome.");
        check("{name}", Some("{agent_name}"), "{agent_name}");
        check("back {next_open}", None, "back");
        check("a { brace", None, "a { brace");
        check("", None, "");
    }
}
