//! What the channel tells about a contact beside messages: notices for their room, where they came from, facts to remember, and
//! which app may answer them. None of it opens a room.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Author, AuthorKind, Delivery, Direction,
    events::{self, Kind, NewEvent},
    say::{self, Came},
    store::{
        self,
        receive::{self as known, Wanted},
        told as sql,
    },
};
use crate::{
    channels::{Content, Fact},
    clock::{self, Moment},
    contacts,
    ids::{ContactId, MessageId, RoomId, TenantId, WidgetId},
};

/// Whom it is about, and when it happened.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Whose page.
    pub tenant: TenantId,
    /// The page.
    pub widget: WidgetId,
    /// The contact.
    pub sender: &'a str,
    /// When, by the channel's clock.
    pub at: Moment,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// It stands in the room.
    Shown(RoomId, MessageId),
    /// It stood there already.
    Duplicate(RoomId, MessageId),
    /// The contact has never had a room.
    NoRoom,
}

/// Shows something in the contact's newest room, once.
///
/// # Errors
/// The database's.
pub async fn notice(
    tx: &mut PgConnection,
    about: About<'_>,
    external_id: &str,
    text: &str,
    reply_to: Option<&str>,
    now: Moment,
) -> sqlx::Result<Noticed> {
    let ids = [Some(external_id), reply_to].into_iter().filter(Option::is_some);
    let wanted =
        ids.map(|external_id| Wanted { tenant: about.tenant, widget: about.widget, external_id, sender: None });
    let found = known::look_up(tx, &wanted.collect::<Vec<_>>()).await?.messages;
    let find = |id: &str| found.get(&(about.widget, id.to_owned())).copied();
    if let Some((message, room)) = find(external_id) {
        return Ok(Noticed::Duplicate(room, message));
    }
    let Some(contact) = sql::find_contact(tx, about.tenant, about.widget, about.sender).await? else {
        return Ok(Noticed::NoRoom);
    };
    let Some(room) = known::lock_newest(tx, about.tenant, contact.id).await? else { return Ok(Noticed::NoRoom) };
    let Some(mut room) = store::lock(tx, about.tenant, room).await? else { return Ok(Noticed::NoRoom) };
    let came = Came {
        direction: Direction::System,
        author: Author { kind: AuthorKind::Contact, id: Some(contact.id.0), name: contact.name.unwrap_or_default() },
        content: &Content::Text { text: text.to_owned() },
        reply_to: reply_to.and_then(find).map(|it| it.0),
        status: Delivery::Received,
        external_id,
        at: about.at,
    };
    let message = say::take_in(tx, about.tenant, &mut room, came, now).await?;
    Ok(Noticed::Shown(room.id, message.id))
}

/// Remembers a fact about the contact, who is made if they are new; the newest of each name counts. False if a newer one is known.
///
/// # Errors
/// The database's.
pub async fn remember(tx: &mut PgConnection, about: About<'_>, fact: &Fact, now: Moment) -> sqlx::Result<bool> {
    let contact = contact_of(tx, about, now).await?;
    let mut value = if fact.value.is_object() { fact.value.clone() } else { json!({ "value": fact.value }) };
    value["at"] = clock::show(about.at).into();
    let mut changed = sql::mark_fact(tx, about.tenant, contact, fact.name, &value, about.at, now).await?;
    if changed && fact.name == "customer_information" {
        let given = |name: &str| value[name].as_str().map(str::trim).filter(|it| !it.is_empty() && it.len() <= 200);
        sql::mark_given(tx, about.tenant, contact, given("name"), given("phone"), given("email"), now).await?;
    }
    if let (true, "checkbox", Some(user_ref)) = (changed, fact.name, value["user_ref"].as_str()) {
        // Before their first message they were known by what the checkbox on the web site called them.
        changed |= sql::adopt_facts(tx, about.tenant, about.widget, user_ref, contact).await?;
    }
    if changed {
        announce_contact(tx, about.tenant, contact, now).await?;
    }
    Ok(changed)
}

/// The contact came in by a link or an ad: their open room knows it, and their next message takes it along otherwise. False if a newer
/// one is known.
///
/// # Errors
/// The database's.
pub async fn refer(
    tx: &mut PgConnection,
    about: About<'_>,
    referral: &Value,
    opens_window: bool,
    now: Moment,
) -> sqlx::Result<bool> {
    let contact = contact_of(tx, about, now).await?;
    // Rooms before contacts, as everywhere: so nobody waits in a ring.
    let room = known::lock_open(tx, &[about.tenant.0], &[contact.0]).await?.remove(&contact);
    if !sql::mark_referral(tx, about.tenant, contact, referral, about.at.min(now), opens_window).await? {
        return Ok(false);
    }
    if let Some(room) = room {
        sql::mark_room_referrals(tx, &[about.tenant.0], &[room.id.0], std::slice::from_ref(referral)).await?;
        announce_room(tx, about.tenant, room.id, now).await?;
    }
    Ok(true)
}

/// The contact did something that opens the window, without a word.
///
/// # Errors
/// The database's.
pub async fn touch(tx: &mut PgConnection, about: About<'_>, now: Moment) -> sqlx::Result<()> {
    sql::mark_touched(tx, about.tenant, about.widget, about.sender, about.at.min(now)).await
}

/// Another app answers this contact now, or nobody else does. `app_id` is empty where the other app is not named. False if something
/// newer is known.
///
/// # Errors
/// The database's.
pub async fn hand_over(
    tx: &mut PgConnection,
    about: About<'_>,
    app_id: Option<&str>,
    now: Moment,
) -> sqlx::Result<bool> {
    let contact = contact_of(tx, about, now).await?;
    let room = known::lock_open(tx, &[about.tenant.0], &[contact.0]).await?.remove(&contact);
    if !sql::mark_thread_owner(tx, about.tenant, contact, app_id, about.at.min(now)).await? {
        return Ok(false);
    }
    if let Some(room) = room {
        announce_room(tx, about.tenant, room.id, now).await?;
    }
    Ok(true)
}

async fn contact_of(tx: &mut PgConnection, about: About<'_>, now: Moment) -> sqlx::Result<ContactId> {
    let key = (about.tenant, about.widget, about.sender);
    let mut contacts = known::upsert_contacts(tx, &[key], now).await?;
    let contact = contacts.remove(&(about.widget, about.sender.to_owned()));
    Ok(contact.expect("the contact was found or made").id)
}

async fn announce_room(tx: &mut PgConnection, tenant: TenantId, room: RoomId, now: Moment) -> sqlx::Result<()> {
    let Some(view) = store::find_view(tx, tenant, room, now).await? else { return Ok(()) };
    events::append(tx, now, &[NewEvent::room(tenant, Kind::RoomUpdated, &view)]).await
}

async fn announce_contact(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    now: Moment,
) -> sqlx::Result<()> {
    let Some(view) = contacts::store::find(tx, tenant, contact).await? else { return Ok(()) };
    let (room, agent) = sql::find_newest_room(tx, tenant, contact).await?.unzip();
    let (agent, data) = (agent.flatten(), events::written(&view));
    events::append(tx, now, &[NewEvent { tenant, kind: Kind::ContactUpdated, room, agent, former_agent: None, data }])
        .await
}
