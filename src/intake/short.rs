//! The short way: what most webhooks bring, text of a contact whose room is open and of whom nothing else waits, is put into the room by
//! the statement that promises it. Everything else is promised first and applied afterwards, and so is this if anything is in its way.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{
    NewItem, Plain, meter,
    store::accept::{Ready, Written, find_ready, insert_items},
};
use crate::{
    channels::{Content, Event, What, messenger::normalize::normalize, meta::envelope::Lane},
    clock::Moment,
    ids::{ItemId, MessageId},
    rooms::{
        receive::{self, Inbound},
        shared,
    },
};

/// Larger items are applied afterwards, where their number is limited by their size.
const MOST_BYTES: usize = 16 * 1024;

/// What an item says, if it is a message of which there is no more to be said. Pure, and done before the writer's turn.
pub(super) fn plain(item: &NewItem) -> Option<Plain> {
    if item.state.is_some() || item.kind != "message" || item.sender.is_empty() || item.raw.len() > MOST_BYTES {
        return None;
    }
    let raw = std::str::from_utf8(&item.raw).ok()?;
    let event = normalize(raw, Lane::of(item.lane), &item.page_id, item.entry_time, item.received_at).ok()?;
    let Event { at, what: What::Inbound { external_id, content, reply_to: None, referral: None }, fact: None } = event
    else {
        return None;
    };
    let is_plain = matches!(&content, Content::Text { text } if !shared::may_share(text));
    is_plain.then_some(Plain { external_id, at, content })
}

/// Writes items down, and those that may be into their rooms.
///
/// # Errors
/// The database's; nothing is stored then.
pub(super) async fn write(db: &mut PgConnection, items: &[NewItem], now: Moment) -> sqlx::Result<Written> {
    let plain: Vec<_> = items.iter().filter_map(|it| Some((it, it.plain.as_deref()?))).collect();
    let ready = find_ready(db, &plain).await?;
    let version = |it: &Ready| Some((it.contact.room.as_ref()?.id, it.version.clone()));
    let versions: HashMap<_, _> = ready.iter().filter_map(|(_, it)| version(it)).collect();
    let ready = ready.into_iter().map(|(nth, ready)| (plain[nth].0.id, ready)).collect();
    let (messages, contacts) = in_order(items, ready);
    let into_rooms = receive::into_rooms(&messages, contacts, now);
    let written = insert_items(db, items, &into_rooms, &versions, now).await?;
    meter::applied_at_once(items.iter().filter(|it| written.stored.contains(&it.id)), now);
    Ok(written)
}

/// The messages that may be stored, and who wrote them: nobody's message before something of theirs that has to wait.
fn in_order(items: &[NewItem], mut ready: HashMap<ItemId, Ready>) -> (Vec<Inbound>, receive::Contacts) {
    let (mut messages, mut contacts) = (Vec::with_capacity(ready.len()), HashMap::new());
    let (mut late, mut seen) = (HashSet::new(), HashSet::new());
    for item in items.iter().filter(|it| it.state.is_none()) {
        let who = (item.app, &*item.page_id, &*item.sender);
        let may =
            |plain: &&Plain| !late.contains(&who) && !seen.contains(&(item.app, &*item.page_id, &*plain.external_id));
        let found = item.plain.as_deref().filter(|it| may(it)).and_then(|it| Some((it, ready.remove(&item.id)?)));
        let Some((plain, Ready { tenant, widget, contact, .. })) = found else {
            late.insert(who);
            continue;
        };
        seen.insert((item.app, &*item.page_id, &*plain.external_id));
        contacts.entry((widget, item.sender.clone())).or_insert(contact);
        messages.push(Inbound {
            id: MessageId(item.id.0),
            tenant,
            widget,
            sender: item.sender.clone(),
            at: plain.at,
            external_id: plain.external_id.clone(),
            content: plain.content.clone(),
            reply_to: None,
            referral: None,
        });
    }
    (messages, contacts)
}
