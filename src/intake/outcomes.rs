//! What each item that is no message becomes: a changed message, a notice in the room, a fact, the widget's health, or kept.

use sqlx::PgConnection;

use super::store::{Done, Pending};
use crate::{
    channels::{Event, Fact, ThreadChange, What},
    clock::Moment,
    ids::{MessageId, RoomId},
    rooms::{
        Delivery,
        changes::{self, Change, Effect, MessageChange},
        events::{self, NewEvent},
        receipts::{self, Echo, Echoed, Receipt},
        told::{self, About, Noticed},
    },
    widgets::{
        self,
        health::{self, Check, State},
    },
};

/// Meta's own app behind the Page inbox (its documentation prints one with a digit less, too).
const PAGE_INBOX: [&str; 2] = ["263902037430900", "26390203743090"];
/// Longest part of a reason from Meta that is shown.
const MAX_REASON: usize = 500;

pub(super) fn done(item: &Pending, state: &'static str) -> Done {
    Done { tenant: item.tenant, id: item.id, state, outcome: None, room: None, message: None }
}

pub(super) fn done_in(item: &Pending, state: &'static str, room: RoomId, message: MessageId) -> Done {
    Done { room: Some(room), message: Some(message), ..done(item, state) }
}

fn became(item: &Pending, state: &'static str, outcome: &str) -> Done {
    Done { outcome: Some(outcome.to_owned()), ..done(item, state) }
}

fn about<'a>(item: &'a Pending, at: Moment) -> About<'a> {
    About { tenant: item.tenant, widget: item.widget, sender: &item.sender, at }
}

/// Remembers what an item told about its contact.
pub(super) async fn remember(
    tx: &mut PgConnection,
    item: &Pending,
    at: Moment,
    fact: &Fact,
    now: Moment,
) -> sqlx::Result<bool> {
    if item.sender.is_empty() {
        return Ok(false);
    }
    told::remember(tx, about(item, at), fact, now).await
}

/// Applies one item that is no message.
pub(super) async fn apply_one(tx: &mut PgConnection, item: &Pending, event: Event, now: Moment) -> sqlx::Result<Done> {
    let Event { at, what, fact } = event;
    // The contact first, so that the notice finds whose it is.
    let is_news = match &fact {
        Some(fact) => remember(tx, item, at, fact, now).await?,
        None => false,
    };
    let change =
        |external_id, change| MessageChange { tenant: item.tenant, widget: item.widget, external_id, at, change };
    match what {
        What::Echo { external_id, metadata, content, .. } => {
            echo(tx, item, at, external_id, metadata, content, now).await
        }
        What::Delivered { external_ids, watermark } => {
            receipt(tx, item, at, external_ids, watermark, Delivery::Delivered, now).await
        }
        What::Read { external_ids, watermark } => {
            receipt(tx, item, at, external_ids, watermark, Delivery::Read, now).await
        }
        What::Edited { external_id, text, number } => {
            let effect = changes::change(tx, &change(external_id, Change::Edit { text, number }), now).await?;
            Ok(changed(item, effect, "edited"))
        }
        What::Unsent { external_id } => {
            let effect = changes::change(tx, &change(external_id, Change::Unsent), now).await?;
            Ok(changed(item, effect, "unsent"))
        }
        What::Reacted { external_id, emoji, by_page } => {
            let by = if by_page { "page" } else { "contact" };
            let opens_window = emoji.is_some() && !by_page && !item.sender.is_empty();
            let word = if emoji.is_some() { "reacted" } else { "reaction removed" };
            let effect = changes::change(tx, &change(external_id, Change::Reaction { by, emoji }), now).await?;
            if opens_window && !matches!(effect, Effect::Known(_)) {
                told::touch(tx, about(item, at), now).await?;
            }
            Ok(changed(item, effect, word))
        }
        What::Referred { referral, opens_window } if !item.sender.is_empty() => {
            let is_new = told::refer(tx, about(item, at), &referral, opens_window, now).await?;
            Ok(became(item, if is_new { "applied" } else { "duplicate" }, "where the contact came from"))
        }
        What::Notice { external_id, text, about: reply_to } if !item.sender.is_empty() => {
            let noticed = told::notice(tx, about(item, at), &external_id, &text, reply_to.as_deref(), now).await?;
            Ok(match noticed {
                Noticed::Shown(room, message) => done_in(item, "applied", room, message),
                Noticed::Duplicate(room, message) => done_in(item, "duplicate", room, message),
                Noticed::NoRoom if is_news => became(item, "applied", "a fact about the contact"),
                Noticed::NoRoom if fact.is_some() => became(item, "duplicate", "a fact about the contact"),
                Noticed::NoRoom => became(item, "ignored", "kept: the contact has no room"),
            })
        }
        What::Thread { external_id, change, app_id, previous_app_id } if !item.sender.is_empty() => {
            thread(tx, item, at, Handed { external_id, change, app_id, previous_app_id }, now).await
        }
        What::Policy { action, reason } => {
            let check = policy(&action, reason.as_deref(), at);
            judge(tx, item, check, now).await
        }
        What::Roles { roles } => {
            let Some(ours) = widgets::store::find_app_id(tx, item.tenant, item.widget).await? else {
                return Ok(became(item, "ignored", "kept"));
            };
            let is_primary = roles.get(&ours).is_none_or(|it| it.iter().any(|role| role == "primary_receiver"));
            let (state, detail) = if is_primary {
                (State::Ok, "No other app answers the Page's contacts before this one.")
            } else {
                (State::Attention, "Another app is the Page's primary receiver: replies need the thread from it.")
            };
            judge(tx, item, Check::new("thread_control", state, detail, at), now).await
        }
        What::Inbound { .. } | What::Referred { .. } | What::Notice { .. } | What::Thread { .. } | What::Other => {
            Ok(became(item, "ignored", "kept"))
        }
    }
}

fn changed(item: &Pending, effect: Effect, word: &str) -> Done {
    match effect {
        Effect::Changed(room) => Done { room: Some(room), ..became(item, "applied", word) },
        Effect::Known(room) => Done { room: Some(room), ..became(item, "duplicate", word) },
        Effect::Early => became(item, "applied", &format!("{word}: waits for its message")),
    }
}

async fn echo(
    tx: &mut PgConnection,
    item: &Pending,
    at: Moment,
    external_id: String,
    metadata: Option<String>,
    content: crate::channels::Content,
    now: Moment,
) -> sqlx::Result<Done> {
    let (tenant, widget, sender) = (item.tenant, item.widget, item.sender.clone());
    let echo = Echo { tenant, widget, sender, at, external_id, metadata, content };
    Ok(match receipts::echo(tx, &echo, now).await? {
        Echoed::Settled(room, message) => {
            Done { outcome: Some("settled".to_owned()), ..done_in(item, "applied", room, message) }
        }
        Echoed::Stored(room, message) => done_in(item, "applied", room, message),
        Echoed::Duplicate(room, message) => done_in(item, "duplicate", room, message),
    })
}

async fn receipt(
    tx: &mut PgConnection,
    item: &Pending,
    at: Moment,
    external_ids: Vec<String>,
    watermark: Option<Moment>,
    delivery: Delivery,
    now: Moment,
) -> sqlx::Result<Done> {
    let (tenant, widget, sender) = (item.tenant, item.widget, item.sender.clone());
    let receipt = Receipt { tenant, widget, sender, external_ids, watermark, at };
    let changed = receipts::receipt(tx, &receipt, delivery, now).await?;
    let word = if delivery == Delivery::Read { "read" } else { "delivered" };
    Ok(became(item, "applied", &format!("{changed} messages {word}")))
}

struct Handed {
    external_id: String,
    change: ThreadChange,
    app_id: Option<String>,
    previous_app_id: Option<String>,
}

async fn thread(tx: &mut PgConnection, item: &Pending, at: Moment, it: Handed, now: Moment) -> sqlx::Result<Done> {
    let ours = widgets::store::find_app_id(tx, item.tenant, item.widget).await?.unwrap_or_default();
    let is_ours = it.app_id.as_ref() == Some(&ours);
    let name = match it.app_id.as_deref() {
        Some(id) if PAGE_INBOX.contains(&id) => "The Page inbox".to_owned(),
        Some(id) => format!("The app {id}"),
        None => "Another app".to_owned(),
    };
    let (owner, text) = match it.change {
        ThreadChange::Requested => (None, format!("{name} asks to answer this contact.")),
        _ if is_ours => (Some(None), "This contact is answered here again.".to_owned()),
        // Meta names the new owner or the old one, not always both: what we lost, somebody else has.
        _ if it.app_id.is_some() || it.previous_app_id.as_ref() == Some(&ours) => {
            (Some(Some(it.app_id.unwrap_or_default())), format!("{name} answers this contact now."))
        }
        _ => return Ok(became(item, "ignored", "kept")),
    };
    if let Some(owner) = owner
        && !told::hand_over(tx, about(item, at), owner.as_deref(), now).await?
    {
        return Ok(became(item, "duplicate", "thread control"));
    }
    Ok(match told::notice(tx, about(item, at), &it.external_id, &text, None, now).await? {
        Noticed::Shown(room, message) => done_in(item, "applied", room, message),
        Noticed::Duplicate(room, message) => done_in(item, "duplicate", room, message),
        Noticed::NoRoom => became(item, "applied", "thread control"),
    })
}

fn policy(action: &str, reason: Option<&str>, at: Moment) -> Check {
    let reason: String = reason.unwrap_or_default().chars().filter(|it| !it.is_control()).take(MAX_REASON).collect();
    let (state, what) = match action {
        "unblock" => (State::Ok, "Facebook has lifted its block of the Page."),
        "block" => (State::Attention, "Facebook has blocked the Page: it may not send."),
        _ => (State::Attention, "Facebook warns the Page about its policies."),
    };
    let detail = if reason.is_empty() { what.to_owned() } else { format!("{what} {reason}") };
    Check::new("policy", state, detail, at)
}

async fn judge(tx: &mut PgConnection, item: &Pending, check: Check, now: Moment) -> sqlx::Result<Done> {
    let (name, state) = (check.name.clone(), check.state);
    let Some(widget) = health::note(tx, item.tenant, item.widget, check).await? else {
        return Ok(became(item, "duplicate", &name));
    };
    if state != State::Ok {
        tracing::warn!(tenant.id = %item.tenant, widget.id = %item.widget, check = %name, "widget {} needs attention: {name}", item.widget);
    }
    events::append(tx, now, &[NewEvent::widget_health(item.tenant, &widget)]).await?;
    Ok(became(item, "applied", &name))
}
