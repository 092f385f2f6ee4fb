//! What the channel reports of messages that went out: echoes, deliveries, reads. All of it may come twice, late, or out of order.

use sqlx::PgConnection;

use super::{
    Author, AuthorKind, CloseReason, Delivery, Direction, MessageView, Status, changes,
    decisions::{Decision, NewDecision, Reason},
    events::{self, Kind, NewEvent},
    say::{self, Came},
    store::{
        self,
        receive::{NewRoom, Wanted},
    },
};
use crate::{
    channels::Content,
    clock::Moment,
    ids::{MessageId, RoomId, TenantId, UserId, WidgetId},
};

/// Prefix of the metadata our sends carry; the message id follows.
pub const METADATA_PREFIX: &str = "cg:";

/// An echo: the page wrote to the contact, through us or elsewhere.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Whose page.
    pub tenant: TenantId,
    /// The page.
    pub widget: WidgetId,
    /// To whom.
    pub sender: String,
    /// When, by the channel's clock.
    pub at: Moment,
    /// The channel's id.
    pub external_id: String,
    /// What our send carried.
    pub metadata: Option<String>,
    /// What it says.
    pub content: Content,
}

/// What an echo did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echoed {
    /// It settled a message of ours.
    Settled(RoomId, MessageId),
    /// It was written elsewhere and is in the room now.
    Stored(RoomId, MessageId),
    /// Known already.
    Duplicate(RoomId, MessageId),
}

/// Takes an echo in.
///
/// # Errors
/// The database's.
pub async fn echo(tx: &mut PgConnection, echo: &Echo, now: Moment) -> sqlx::Result<Echoed> {
    let wanted =
        Wanted { tenant: echo.tenant, widget: echo.widget, external_id: Some(&echo.external_id), sender: None };
    let known = store::receive::look_up(tx, &[wanted]).await?;
    let has_early = !known.early.is_empty();
    if let Some((message, room)) = known.messages.into_values().next() {
        let has_moved = store::receipts::mark_echoed_at(tx, echo.tenant, message, echo.at).await?;
        if has_moved | (has_early && changes::catch_up(tx, echo.tenant, message).await?) {
            announce(tx, echo.tenant, &[Changed { message, room }], now).await?;
        }
        return Ok(Echoed::Duplicate(room, message));
    }
    let ours = echo.metadata.as_deref().and_then(|it| it.strip_prefix(METADATA_PREFIX)).and_then(|it| it.parse().ok());
    if let Some(id) = ours.map(MessageId) {
        if let Some(room) = settle(tx, echo.tenant, id, &echo.external_id, Some(echo.at), now).await? {
            return Ok(Echoed::Settled(room, id));
        }
        // The sender's own verdict came between our look and now.
        if let Some(message) = store::find_message(tx, echo.tenant, id).await?
            && message.external_id.as_ref() == Some(&echo.external_id)
        {
            return Ok(Echoed::Duplicate(message.room_id, id));
        }
    }
    let (room, message) = store_elsewhere(tx, echo, now).await?;
    // Receipts may have overtaken the echo.
    let has_moved = store::receipts::mark_echoed_at(tx, echo.tenant, message, echo.at).await?;
    if has_moved | (has_early && changes::catch_up(tx, echo.tenant, message).await?) {
        announce(tx, echo.tenant, &[Changed { message, room }], now).await?;
    }
    Ok(Echoed::Stored(room, message))
}

/// The channel has accepted our message: it is sent and no longer on its way. None if there is no such message, or it was settled
/// before; then nothing changes.
///
/// # Errors
/// The database's.
pub async fn settle(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    external_id: &str,
    echoed_at: Option<Moment>,
    now: Moment,
) -> sqlx::Result<Option<RoomId>> {
    let Some(changed) = store::receipts::mark_sent(tx, tenant, message, external_id, echoed_at, now).await? else {
        return Ok(None);
    };
    store::receipts::delete_outbox(tx, tenant, message).await?;
    // A reaction or a receipt may have overtaken the answer to our send.
    changes::catch_up(tx, tenant, message).await?;
    announce(tx, tenant, &[changed], now).await?;
    Ok(Some(changed.room))
}

/// Which of a contact's messages a receipt speaks of.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Whose page.
    pub tenant: TenantId,
    /// The page.
    pub widget: WidgetId,
    /// Whose receipt.
    pub sender: String,
    /// Messages named one by one.
    pub external_ids: Vec<String>,
    /// Everything sent before or at this moment.
    pub watermark: Option<Moment>,
    /// When it happened, by the channel's clock.
    pub at: Moment,
}

/// Marks messages as delivered or read; never backwards. What is not known to be sent yet is marked when it is. How many changed.
///
/// # Errors
/// The database's.
pub async fn receipt(tx: &mut PgConnection, receipt: &Receipt, status: Delivery, now: Moment) -> sqlx::Result<usize> {
    let changed = store::receipts::mark_receipt(tx, receipt, status == Delivery::Read, now).await?;
    announce(tx, receipt.tenant, &changed, now).await?;
    Ok(changed.len())
}

/// A message that changed, with who sees it.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// The message.
    pub message: MessageId,
    /// Its room.
    pub room: RoomId,
}

/// Tells the log that messages of a tenant changed.
///
/// # Errors
/// The database's.
pub async fn announce(tx: &mut PgConnection, tenant: TenantId, changed: &[Changed], now: Moment) -> sqlx::Result<()> {
    let changed: Vec<_> = changed.iter().map(|it| (tenant, *it)).collect();
    announce_all(tx, &changed, now).await
}

/// Tells the logs of several tenants that messages changed: two statements for all of them.
///
/// # Errors
/// The database's.
pub async fn announce_all(tx: &mut PgConnection, changed: &[(TenantId, Changed)], now: Moment) -> sqlx::Result<()> {
    let views = list_changed(tx, changed).await?;
    log_all(tx, &views, now).await
}

/// Messages that have changed, each with its tenant and who holds its room.
///
/// # Errors
/// The database's.
pub async fn list_changed(
    tx: &mut PgConnection,
    changed: &[(TenantId, Changed)],
) -> sqlx::Result<Vec<(TenantId, MessageView, Option<UserId>)>> {
    if changed.is_empty() { Ok(Vec::new()) } else { store::list_changed(tx, changed).await }
}

/// The same as [`announce_all`] with the messages at hand.
///
/// # Errors
/// The database's.
pub async fn log_all(
    tx: &mut PgConnection,
    changed: &[(TenantId, MessageView, Option<UserId>)],
    now: Moment,
) -> sqlx::Result<()> {
    let log: Vec<_> = changed
        .iter()
        .map(|(tenant, view, holder)| NewEvent::message(*tenant, Kind::MessageUpdated, view, *holder))
        .collect();
    events::append(tx, now, &log).await
}

/// Written in the Page inbox or by another app: shown in the contact's newest room; if there is none, in one that is closed at once,
/// because nobody has asked us anything.
async fn store_elsewhere(tx: &mut PgConnection, echo: &Echo, now: Moment) -> sqlx::Result<(RoomId, MessageId)> {
    let sender = (echo.tenant, echo.widget, &*echo.sender);
    let contacts = store::receive::upsert_contacts(tx, &[sender], now).await?;
    let contact = contacts[&(echo.widget, echo.sender.clone())].id;
    let mut is_new = false;
    let room = match store::receive::lock_newest(tx, echo.tenant, contact).await? {
        Some(room) => room,
        None => {
            let room = NewRoom {
                tenant: echo.tenant,
                id: RoomId::fresh(now),
                widget: echo.widget,
                contact,
                status: Status::Closed,
                queue: None,
                is_held: false,
                is_overflow: false,
                close_reason: Some(CloseReason::NoRoute),
                referral: None,
                received: 0,
                window_look_at: None,
            };
            let noted = NewDecision::new(echo.tenant, room.id, None, Decision::TurnedAway);
            let noted = [noted.because(Reason::Elsewhere)];
            store::receive::insert_rooms(tx, std::slice::from_ref(&room), &noted, now).await?;
            announce_room(tx, echo.tenant, room.id, Kind::RoomOpened, now).await?;
            is_new = true;
            room.id
        }
    };
    let Some(mut room) = store::lock(tx, echo.tenant, room).await? else { return Err(sqlx::Error::RowNotFound) };
    let came = Came {
        direction: Direction::Outbound,
        author: Author { kind: AuthorKind::Page, id: None, name: "Page".to_owned() },
        content: &echo.content,
        reply_to: None,
        status: Delivery::Sent,
        external_id: &echo.external_id,
        at: echo.at,
    };
    let message = say::take_in(tx, echo.tenant, &mut room, came, now).await?;
    if is_new {
        announce_room(tx, echo.tenant, room.id, Kind::RoomClosed, now).await?;
    }
    Ok((room.id, message.id))
}

async fn announce_room(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    kind: Kind,
    now: Moment,
) -> sqlx::Result<()> {
    let Some(view) = store::find_view(tx, tenant, room, now).await? else { return Ok(()) };
    events::append(tx, now, &[NewEvent::room(tenant, kind, &view)]).await
}
