//! What contacts write comes into their rooms. A whole batch at once: a handful of statements whatever its size.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::TimeDelta;
use sqlx::PgConnection;

use super::{
    Author, AuthorKind, CloseReason, Closed, Delivery, Direction, MessageView, NewMessage, Place, Status,
    automatic::{self, Occasion},
    changes::{self, Changeable},
    decisions,
    events::{self, Kind, NewEvent, shown},
    limits, shared,
    store::{
        self,
        receive::{Known, NewRoom, OpenRoom, Stored, Touched, Wanted, Wrote},
    },
    window_watch,
};
use crate::{
    channels::{AttachmentKind, Content},
    clock::Moment,
    contacts,
    ids::{ContactId, MessageId, RoomId, TenantId, UserId, WidgetId},
    media::{self, NewFile},
};

/// How contacts are called before their name is known.
pub const NAMELESS: &str = "Guest";
/// How old a profile may be when its contact opens a room.
const PROFILES_LAST: TimeDelta = TimeDelta::days(30);

/// Something a contact wrote, tapped or shared.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Its own id, once it is stored.
    pub id: MessageId,
    /// Whose customer.
    pub tenant: TenantId,
    /// Where it came in.
    pub widget: WidgetId,
    /// The page-scoped id.
    pub sender: String,
    /// When, by the channel's clock.
    pub at: Moment,
    /// The channel's id; a second one with the same id changes nothing.
    pub external_id: String,
    /// What it says.
    pub content: Content,
    /// External id of the message it answers.
    pub reply_to: Option<String>,
    /// Where the contact came from.
    pub referral: Option<serde_json::Value>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Stored as this message.
    Stored {
        /// The room.
        room: RoomId,
        /// The message.
        message: MessageId,
    },
    /// It was there already.
    Duplicate {
        /// The room.
        room: RoomId,
        /// The message.
        message: MessageId,
    },
}

/// What became of a batch.
#[derive(Debug)]
pub struct Batch {
    /// One outcome for each item, in their order.
    pub outcomes: Vec<Received>,
    /// Whose rooms were opened by it: there may be somebody to assign.
    pub opened: BTreeSet<TenantId>,
    /// Whether there may be a text to send.
    pub says: bool,
}

/// A batch on its way: looked up, locked if need be, then stored.
pub struct Looked<'a> {
    items: &'a [Inbound],
    /// What is not stored yet, with where its contact came from.
    fresh: Vec<(&'a Inbound, Option<serde_json::Value>)>,
    known: HashMap<(WidgetId, String), (MessageId, RoomId)>,
    early: HashSet<(WidgetId, String)>,
    talks: HashMap<(WidgetId, String), Talk>,
}

/// Looks up what is known about a batch, and makes contacts of new senders. Nothing is locked yet.
///
/// The caller holds whatever keeps two workers from applying one sender's items at once.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn look<'a>(tx: &mut PgConnection, items: &'a [Inbound], now: Moment) -> sqlx::Result<Looked<'a>> {
    let of = |it: &'a Inbound| Wanted {
        tenant: it.tenant,
        widget: it.widget,
        external_id: Some(&it.external_id),
        sender: Some(&it.sender),
    };
    // The messages that are answered are looked up together with those that may be there already.
    let answered =
        items.iter().filter_map(|it| Some(Wanted { external_id: Some(it.reply_to.as_ref()?), sender: None, ..of(it) }));
    let wanted: Vec<_> = items.iter().map(of).chain(answered).collect();
    let Stored { messages: known, early, mut contacts } = store::receive::look_up(tx, &wanted).await?;
    let mut seen = HashSet::new();
    let is_fresh = |it: &&Inbound| {
        let key = (it.widget, it.external_id.clone());
        !known.contains_key(&key) && seen.insert(key)
    };
    let fresh: Vec<&Inbound> = items.iter().filter(is_fresh).collect();
    let is_new = |it: &&&Inbound| !contacts.contains_key(&(it.widget, it.sender.clone()));
    let new: BTreeSet<_> = fresh.iter().filter(is_new).map(|it| (it.tenant, it.widget, it.sender.as_str())).collect();
    contacts.extend(store::receive::make_contacts(tx, new.into_iter().collect(), now).await?);
    Ok(Looked::with(items, fresh, contacts, now).knowing(known, early))
}

/// Who is behind the senders of a batch.
pub type Contacts = HashMap<(WidgetId, String), Known>;

/// What messages into open rooms store.
#[derive(Debug, Default)]
pub struct IntoRooms {
    /// The rooms.
    pub rooms: Vec<Touched>,
    /// Who wrote, but for those of whom it is enough that their room knows it.
    pub wrote: Vec<Wrote>,
    /// The messages, in order.
    pub messages: Vec<NewMessage>,
    /// That each of them was written, in the same order.
    pub events: Vec<NewEvent>,
}

/// What is stored of plain texts of contacts whose rooms are open, if nobody changes these rooms before.
///
/// # Panics
/// If a sender is not among the contacts or has no open room.
#[must_use]
pub fn into_rooms(items: &[Inbound], contacts: Contacts, now: Moment) -> IntoRooms {
    let mut looked = Looked::with(items, items.iter().collect(), contacts, now);
    let (rooms, wrote) = looked.marks();
    let (mut messages, mut events) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for it in items {
        let talk = looked.talks.get_mut(&(it.widget, it.sender.clone())).expect("every sender has a talk");
        let mut room = talk.room.take().expect("the room is open");
        room.last_seq += 1;
        let message = message(it, &room, talk, &it.content, None, now);
        events.push(NewEvent::message(it.tenant, Kind::MessageCreated, &message.view, room.agent));
        messages.push(message);
        talk.room = Some(room);
    }
    IntoRooms { rooms, wrote, messages, events }
}

impl<'a> Looked<'a> {
    fn with(items: &'a [Inbound], fresh: Vec<&'a Inbound>, contacts: Contacts, now: Moment) -> Self {
        let mut talks: HashMap<_, _> = contacts.into_iter().map(|(key, known)| (key, Talk::with(known))).collect();
        let fresh = fresh.into_iter().map(|it| {
            let talk = talks.get_mut(&(it.widget, it.sender.clone())).expect("every sender has a talk");
            talk.wrote_at = talk.wrote_at.max(it.at.min(now));
            (it, talk.referral_of(it, now))
        });
        let fresh = fresh.collect();
        Self { items, fresh, known: HashMap::new(), early: HashSet::new(), talks }
    }

    fn knowing(
        self,
        known: HashMap<(WidgetId, String), (MessageId, RoomId)>,
        early: HashSet<(WidgetId, String)>,
    ) -> Self {
        Self { known, early, ..self }
    }

    /// The widgets of those who have no open room: new ones need a place.
    #[must_use]
    pub fn without_room(&self) -> BTreeSet<(TenantId, WidgetId)> {
        let has_none = |it: &Inbound| self.talks[&(it.widget, it.sender.clone())].room.is_none();
        self.fresh.iter().map(|it| it.0).filter(|it| has_none(it)).map(|it| (it.tenant, it.widget)).collect()
    }

    /// Locks the open rooms, so that they stay as they are found now. Who was found to have one may have none after this.
    ///
    /// # Errors
    /// The database's.
    pub async fn lock(&mut self, tx: &mut PgConnection) -> sqlx::Result<()> {
        let with_room: BTreeSet<_> = self
            .fresh
            .iter()
            .filter_map(|(it, _)| {
                let talk = &self.talks[&(it.widget, it.sender.clone())];
                talk.room.is_some().then_some((it.tenant.0, talk.contact.0))
            })
            .collect();
        let (tenants, contacts): (Vec<_>, Vec<_>) = with_room.into_iter().unzip();
        let mut rooms = store::receive::lock_open(tx, &tenants, &contacts).await?;
        for talk in self.talks.values_mut() {
            talk.room = talk.room.take().and_then(|_| rooms.remove(&talk.contact));
        }
        Ok(())
    }

    /// Stores what came, in order; opens rooms where there are none, at the place of their widget. None if somebody wrote into one of
    /// the rooms, took it or closed it since the batch was looked up: the transaction must not be committed then.
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Panics
    /// If a widget [`without_room`](Self::without_room) has no place.
    pub async fn store(
        mut self,
        tx: &mut PgConnection,
        places: &HashMap<WidgetId, Place>,
        now: Moment,
    ) -> sqlx::Result<Option<Batch>> {
        let mut new: HashSet<MessageId> = HashSet::new();
        let mut batch = Batch { outcomes: Vec::new(), opened: BTreeSet::new(), says: false };
        if !self.fresh.is_empty() {
            let Some(stored) = self.store_fresh(tx, places, &mut batch, now).await? else { return Ok(None) };
            for message in stored {
                new.insert(message.view.id);
                let external_id = message.view.external_id.clone().unwrap_or_default();
                self.known.insert((message.widget, external_id), (message.view.id, message.view.room_id));
            }
        }
        let outcomes = self.items.iter().map(|it| {
            let (message, room) = self.known[&(it.widget, it.external_id.clone())];
            // The first of several with one id is the one that was stored.
            if new.remove(&message) {
                Received::Stored { room, message }
            } else {
                Received::Duplicate { room, message }
            }
        });
        batch.outcomes.extend(outcomes);
        Ok(Some(batch))
    }

    /// What the batch does to rooms that are there, and to those who wrote and are to be noted themselves.
    fn marks(&self) -> (Vec<Touched>, Vec<Wrote>) {
        let (mut touched, mut wrote) = (BTreeMap::new(), BTreeMap::new());
        for (it, _) in &self.fresh {
            let talk = &self.talks[&(it.widget, it.sender.clone())];
            if talk.room.is_none() || !talk.is_settled || talk.ad_message_at.is_some() {
                wrote.entry((it.tenant, talk.contact)).or_insert_with(|| Wrote {
                    tenant: it.tenant,
                    contact: talk.contact,
                    at: talk.wrote_at,
                    ad_message_at: talk.ad_message_at,
                });
            }
            if let Some(found) = &talk.room {
                let touched = touched.entry((it.tenant, found.id)).or_insert_with(|| Touched {
                    tenant: it.tenant,
                    found: found.clone(),
                    received: 0,
                    wrote_at: talk.wrote_at,
                });
                touched.received += 1;
            }
        }
        (touched.into_values().collect(), wrote.into_values().collect())
    }

    async fn store_fresh(
        &mut self,
        tx: &mut PgConnection,
        places: &HashMap<WidgetId, Place>,
        batch: &mut Batch,
        now: Moment,
    ) -> sqlx::Result<Option<Vec<NewMessage>>> {
        let (touched, wrote) = self.marks();
        let Self { fresh, known, early, talks, .. } = self;
        let mut opened: Vec<NewRoom> = Vec::new();
        let mut messages: Vec<NewMessage> = Vec::with_capacity(fresh.len());
        let mut told: Vec<(TenantId, RoomId, Option<Closed>)> = Vec::new();
        let mut holders: HashMap<RoomId, Option<UserId>> = HashMap::new();
        let mut shared: Vec<(TenantId, RoomId)> = Vec::new();
        let mut referred: BTreeMap<(TenantId, RoomId), serde_json::Value> = BTreeMap::new();
        let mut files: Vec<NewFile> = Vec::new();
        let mut unhandled: BTreeSet<(TenantId, RoomId)> = BTreeSet::new();
        let mut returned = Vec::new();
        for (it, referral) in std::mem::take(fresh) {
            let talk = talks.get_mut(&(it.widget, it.sender.clone())).expect("every sender has a talk");
            let (mut content, field) = shared::recognise(tx, it, talk.contact).await?;
            files.extend(media::adopt(it.tenant, it.id, &mut content, now));
            let mut room = match talk.room.take() {
                Some(room) => {
                    match (referral, opened.iter_mut().find(|new| new.id == room.id)) {
                        (Some(referral), Some(new)) => new.referral = Some(referral),
                        (Some(referral), None) => drop(referred.insert((it.tenant, room.id), referral)),
                        (None, _) => {}
                    }
                    room
                }
                None => {
                    if !talk.is_new {
                        returned.push((it.tenant.0, talk.contact.0));
                    }
                    let place = &places[&it.widget];
                    let room = open(it, place, talk, referral, now);
                    let open_room = OpenRoom { id: room.id, agent: None, last_seq: 0 };
                    match place {
                        Place::Queue { held: Some(closed), .. } | Place::Offline(closed) => {
                            told.push((it.tenant, room.id, Some(closed.clone())));
                        }
                        Place::Queue { greets, .. } if *greets => told.push((it.tenant, room.id, None)),
                        Place::Queue { .. } | Place::NoRoute => {}
                    }
                    opened.push(room);
                    open_room
                }
            };
            room.last_seq += 1;
            // What new rooms begin with; the others are moved when the messages are stored.
            let new = opened.iter_mut().rev().find(|new| new.id == room.id);
            // A room that was closed the moment it opened takes no second message.
            let takes_more = new.as_ref().is_none_or(|new| new.status != Status::Closed);
            if let Some(new) = new {
                new.received += 1;
            }
            holders.insert(room.id, room.agent);
            let reply_to = it.reply_to.as_ref().and_then(|id| known.get(&(it.widget, id.clone()))).map(|found| found.0);
            if cannot_be_handled(&content) {
                unhandled.insert((it.tenant, room.id));
            }
            messages.push(message(it, &room, talk, &content, reply_to, now));
            if let Some((email, phone)) = field {
                store::receive::mark_shared(tx, it.tenant, talk.contact, email.as_deref(), phone.as_deref(), now)
                    .await?;
                shared.push((it.tenant, room.id));
            }
            talk.room = takes_more.then_some(room);
        }
        let limits = places.values().filter_map(Place::limit).collect();
        let turned_away = limits::settle(&mut opened, &limits);
        told.retain(|it| turned_away.iter().all(|away| away.1 != it.1));
        let changed = if early.is_empty() { Vec::new() } else { apply_early(tx, &mut messages).await? };
        batch.opened.extend(opened.iter().map(|it| it.tenant));
        batch.says = !(told.is_empty() && unhandled.is_empty() && turned_away.is_empty());
        store::receive::insert_rooms(tx, &opened, &decisions::of_opened(&opened), now).await?;
        if !returned.is_empty() {
            // Names and pictures change; a new talk is the time to look. Those of new contacts are asked for anyway.
            let (tenants, writers): (Vec<_>, Vec<_>) = returned.into_iter().unzip();
            contacts::store::mark_profiles_stale(tx, &tenants, &writers, now - PROFILES_LAST, now).await?;
        }
        let log = news(tx, &opened, &messages, &holders, now).await?;
        if !store::receive::write(tx, &touched, &wrote, &messages, &log, now).await? {
            return Ok(None);
        }
        media::store::insert_files(tx, &files, now).await?;
        for (tenant, message) in &changed {
            changes::keep(tx, *tenant, message).await?;
        }
        mark_referred(tx, referred, now).await?;
        shared::announce(tx, &shared, now).await?;
        for (tenant, room, closed) in told {
            let Some(mut room) = store::lock(tx, tenant, room).await? else { continue };
            match &closed {
                Some(closed) => automatic::say(tx, tenant, &mut room, Occasion::Offline(closed), now).await?,
                None => automatic::say(tx, tenant, &mut room, Occasion::Queued, now).await?,
            }
        }
        for (tenant, room) in unhandled {
            let Some(mut room) = store::lock(tx, tenant, room).await? else { continue };
            automatic::say(tx, tenant, &mut room, Occasion::Error, now).await?;
        }
        for (tenant, room, text) in turned_away {
            let Some(mut room) = store::lock(tx, tenant, room).await? else { continue };
            automatic::say(tx, tenant, &mut room, Occasion::Full { text: &text }, now).await?;
        }
        Ok(Some(messages))
    }
}

/// One contact's part of a batch.
struct Talk {
    contact: ContactId,
    is_new: bool,
    is_settled: bool,
    name: Option<String>,
    room: Option<OpenRoom>,
    wrote_at: Moment,
    /// Where they came from by themselves, for the first message of the batch.
    referral: Option<(serde_json::Value, Moment)>,
    ad_message_at: Option<Moment>,
}

/// How long after a click on a link or an ad a message still counts as coming from there.
const REFERRAL_HOURS: i64 = 24;

impl Talk {
    fn with(known: Known) -> Self {
        Self {
            contact: known.id,
            is_new: known.is_new,
            is_settled: known.is_settled,
            name: known.name,
            room: known.room,
            wrote_at: Moment::UNIX_EPOCH,
            referral: known.referral,
            ad_message_at: None,
        }
    }

    /// Where a message came from: what it says itself, or the click before it.
    fn referral_of(&mut self, it: &Inbound, now: Moment) -> Option<serde_json::Value> {
        let clicked = self.referral.take().filter(|(_, at)| it.at - *at < TimeDelta::hours(REFERRAL_HOURS));
        let referral = it.referral.clone().or(clicked.map(|(referral, _)| referral))?;
        if referral["source"] == "ADS" {
            self.ad_message_at = self.ad_message_at.max(Some(it.at.min(now)));
        }
        Some(referral)
    }
}

/// Whether nobody will be able to see what the contact sent. Of files that is known only when they are fetched.
fn cannot_be_handled(content: &Content) -> bool {
    match content {
        Content::Unsupported { .. } => true,
        // Something shared has a title or a link to look at; where it has neither, the title is the channel's word for its kind.
        Content::Attachments { text: None, attachments } => attachments.iter().all(|it| {
            let is_word = |title: &String| title.chars().all(|it| it.is_ascii_lowercase() || it == '_');
            it.kind == AttachmentKind::Unknown && it.url.is_none() && it.title.as_ref().is_none_or(is_word)
        }),
        _ => false,
    }
}

/// Puts what came before its message into it; the messages with more to store than an insert does.
async fn apply_early(tx: &mut PgConnection, messages: &mut [NewMessage]) -> sqlx::Result<Vec<(TenantId, Changeable)>> {
    let external_id = |it: &NewMessage| it.view.external_id.clone().unwrap_or_default();
    let early = store::changes::take_early(
        tx,
        &messages.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
        &messages.iter().map(|it| it.widget.0).collect::<Vec<_>>(),
        &messages.iter().map(external_id).collect::<Vec<_>>(),
    )
    .await?;
    let mut changed = Vec::new();
    for message in messages {
        let id = external_id(message);
        let changes: Vec<_> = early.iter().filter(|it| it.widget == message.widget && it.external_id == id).collect();
        if changes.is_empty() {
            continue;
        }
        let mut changeable = Changeable::of(&message.view);
        for it in changes {
            changeable.apply(&it.change, it.at);
        }
        changeable.show_in(&mut message.view);
        changed.push((message.tenant, changeable));
    }
    Ok(changed)
}

/// Tells open rooms where their contacts came from this time.
async fn mark_referred(
    tx: &mut PgConnection,
    referred: BTreeMap<(TenantId, RoomId), serde_json::Value>,
    now: Moment,
) -> sqlx::Result<()> {
    let (rooms, referrals): (Vec<_>, Vec<_>) = referred.into_iter().unzip();
    let (tenants, ids): (Vec<_>, Vec<_>) = rooms.iter().map(|it| (it.0.0, it.1.0)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    store::told::mark_room_referrals(tx, &tenants, &ids, &referrals).await?;
    let views = store::list_views(tx, &tenants, &ids, now).await?;
    let log: Vec<_> = views.iter().map(|(tenant, view)| NewEvent::room(*tenant, Kind::RoomUpdated, view)).collect();
    events::append(tx, now, &log).await
}

fn open(it: &Inbound, place: &Place, talk: &Talk, referral: Option<serde_json::Value>, now: Moment) -> NewRoom {
    let (status, queue, is_held, close_reason) = match place {
        Place::Queue { queue, held, .. } => (Status::Waiting, Some(queue.0), held.is_some(), None),
        Place::Offline(_) => (Status::Closed, None, false, Some(CloseReason::Offline)),
        Place::NoRoute => (Status::Closed, None, false, Some(CloseReason::NoRoute)),
    };
    NewRoom {
        tenant: it.tenant,
        id: RoomId::fresh(now),
        widget: it.widget,
        contact: talk.contact,
        status,
        queue,
        is_held,
        is_overflow: false,
        close_reason,
        referral,
        received: 0,
        window_look_at: Some(window_watch::first_look(talk.wrote_at, now)),
    }
}

fn message(
    it: &Inbound,
    room: &OpenRoom,
    talk: &Talk,
    content: &Content,
    reply_to: Option<MessageId>,
    now: Moment,
) -> NewMessage {
    let author = Author {
        kind: AuthorKind::Contact,
        id: Some(talk.contact.0),
        name: talk.name.clone().unwrap_or_else(|| NAMELESS.to_owned()),
    };
    let view = MessageView {
        id: it.id,
        room_id: room.id,
        seq: room.last_seq,
        direction: Direction::Inbound,
        author,
        content: shown(content),
        reply_to,
        reactions: serde_json::json!([]),
        status: Delivery::Received,
        edited_at: None,
        error: None,
        external_id: Some(it.external_id.clone()),
        created_at: now,
        sent_at: None,
        delivered_at: None,
        read_at: None,
    };
    NewMessage { tenant: it.tenant, widget: it.widget, external_at: Some(it.at), view }
}

/// What is told about messages and the rooms that were opened for them.
async fn news(
    tx: &mut PgConnection,
    opened: &[NewRoom],
    messages: &[NewMessage],
    holders: &HashMap<RoomId, Option<UserId>>,
    now: Moment,
) -> sqlx::Result<Vec<NewEvent>> {
    let mut log = Vec::with_capacity(messages.len() + 2 * opened.len());
    let (tenants, rooms): (Vec<_>, Vec<_>) = opened.iter().map(|it| (it.tenant.0, it.id.0)).unzip();
    let new = if rooms.is_empty() { Vec::new() } else { store::list_views(tx, &tenants, &rooms, now).await? };
    log.extend(new.iter().map(|(tenant, view)| NewEvent::room(*tenant, Kind::RoomOpened, view)));
    for it in messages {
        let agent = holders.get(&it.view.room_id).copied().flatten();
        log.push(NewEvent::message(it.tenant, Kind::MessageCreated, &it.view, agent));
    }
    for (tenant, view) in &new {
        let kind = if view.status == Status::Closed { Kind::RoomClosed } else { Kind::RoomQueued };
        log.push(NewEvent::room(*tenant, kind, view));
    }
    Ok(log)
}
