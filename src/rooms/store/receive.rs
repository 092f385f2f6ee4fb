//! SQL of receiving: every statement works on a whole batch, so that its cost is shared by all messages that came together.
//! Contacts and rooms are taken in key order, so that two workers cannot wait for each other.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{ContactId, MessageId, RoomId, TenantId, UserId, WidgetId},
    rooms::{
        AuthorKind, CloseReason, Delivery, Direction, NewMessage, Status, decisions::NewDecision, events::NewEvent,
    },
};

/// What came, or is answered, or who wrote: to be looked up.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Wanted<'a> {
    pub tenant: TenantId,
    pub widget: WidgetId,
    pub external_id: Option<&'a str>,
    pub sender: Option<&'a str>,
}

/// What is stored already.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The messages that have the external ids.
    pub messages: HashMap<(WidgetId, String), (MessageId, RoomId)>,
    /// Those for whose message a change waits.
    pub early: HashSet<(WidgetId, String)>,
    /// The contacts behind the senders.
    pub contacts: HashMap<(WidgetId, String), Known>,
}

/// A contact who wrote.
#[derive(Clone, Debug)]
pub struct Known {
    /// The contact.
    pub id: ContactId,
    /// Name, once known.
    pub name: Option<String>,
    /// Where they came in from and when, if they have not written since.
    pub referral: Option<(Value, Moment)>,
    /// Their open room, not locked: somebody may be writing into it, or closing it.
    pub room: Option<OpenRoom>,
    /// Made by this transaction.
    pub is_new: bool,
    /// They have written before, and nothing is noted of them that their next message would end.
    pub is_settled: bool,
}

/// What is stored already of all this.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn look_up(tx: &mut PgConnection, wanted: &[Wanted<'_>]) -> sqlx::Result<Stored> {
    let rows = sqlx::query!(
        r#"select w.nth as "nth!", m.id as "message_id?", m.room_id as "message_room_id?", e.external_id is not null as "is_early!",
            c.id as "contact_id?", c.name, c.referral, c.referral_at,
            coalesce(c.last_inbound_at is not null and c.referral is null and c.thread_owner is null, false) as "is_settled!", r.id as "room_id?", r.agent_id as "agent_id?",
            r.last_seq as "last_seq?"
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) with ordinality as w (tenant_id, widget_id, external_id, sender_id, nth)
        left join messages m
          on m.tenant_id = w.tenant_id
         and m.widget_id = w.widget_id
         and hashtextextended(m.external_id, 0) = hashtextextended(w.external_id, 0)
         and hashtextextended(m.external_id, uuid_hash_extended(m.widget_id, 1))
             = hashtextextended(w.external_id, uuid_hash_extended(w.widget_id, 1))
         and m.external_id = w.external_id
        left join lateral (
            select external_id
            from early_changes
            where tenant_id = w.tenant_id and widget_id = w.widget_id and external_id = w.external_id
            limit 1) as e on true
        left join contacts c
          on c.tenant_id = w.tenant_id and c.widget_id = w.widget_id and c.sender_id = w.sender_id
        left join rooms r on r.tenant_id = c.tenant_id and r.contact_id = c.id and r.status <> 'closed'"#,
        &wanted.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
        &wanted.iter().map(|it| it.widget.0).collect::<Vec<_>>(),
        &wanted.iter().map(|it| it.external_id).collect::<Vec<_>>() as &[Option<&str>],
        &wanted.iter().map(|it| it.sender).collect::<Vec<_>>() as &[Option<&str>],
    )
    .fetch_all(tx)
    .await?;
    let mut stored = Stored::default();
    for it in rows {
        let Some(wanted) = usize::try_from(it.nth - 1).ok().and_then(|nth| wanted.get(nth)) else { continue };
        let key = |id: Option<&str>| (wanted.widget, id.unwrap_or_default().to_owned());
        if let (Some(message), Some(room)) = (it.message_id, it.message_room_id) {
            stored.messages.insert(key(wanted.external_id), (MessageId(message), RoomId(room)));
        }
        if it.is_early {
            stored.early.insert(key(wanted.external_id));
        }
        if let Some(id) = it.contact_id.map(ContactId) {
            let room = it.room_id.zip(it.last_seq);
            let room = room.map(|(id, last_seq)| OpenRoom { id: RoomId(id), agent: it.agent_id.map(UserId), last_seq });
            let referral = it.referral.zip(it.referral_at);
            let known = Known { id, name: it.name, referral, room, is_new: false, is_settled: it.is_settled };
            stored.contacts.insert(key(wanted.sender), known);
        }
    }
    Ok(stored)
}

/// The contacts behind these senders, who have not written just now; made where they are new. Their profiles count as asked for long ago:
/// they become due with the first room that a contact opens. Senders are distinct and in key order.
pub async fn upsert_contacts(
    tx: &mut PgConnection,
    senders: &[(TenantId, WidgetId, &str)],
    now: Moment,
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    let mut known = find_contacts(tx, senders.to_vec(), &HashMap::new()).await?;
    let new = senders.iter().filter(|it| !known.contains_key(&(it.1, it.2.to_owned()))).copied().collect();
    known.extend(insert_contacts(tx, new, Some(Moment::UNIX_EPOCH), now).await?);
    Ok(known)
}

/// Makes contacts of senders who write and have not been found; somebody else may just have done so. Senders are distinct and in key
/// order.
pub async fn make_contacts(
    tx: &mut PgConnection,
    senders: Vec<(TenantId, WidgetId, &str)>,
    now: Moment,
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    insert_contacts(tx, senders, None, now).await
}

async fn insert_contacts(
    tx: &mut PgConnection,
    senders: Vec<(TenantId, WidgetId, &str)>,
    profile_at: Option<Moment>,
    now: Moment,
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    if senders.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "insert into contacts (id, tenant_id, widget_id, sender_id, profile_at, created_at, updated_at)
        select new.*, $6, $5, $5
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) as new
        on conflict on constraint contacts_sender_key do nothing
        returning id, widget_id, sender_id",
        &senders.iter().map(|_| ContactId::fresh(now).0).collect::<Vec<_>>(),
        &senders.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &senders.iter().map(|it| it.1.0).collect::<Vec<_>>(),
        &senders.iter().map(|it| it.2).collect::<Vec<_>>() as &[&str],
        now,
        profile_at,
    )
    .fetch_all(&mut *tx)
    .await?;
    let made = rows.into_iter().map(|it| {
        let id = ContactId(it.id);
        let known = Known { id, name: None, referral: None, room: None, is_new: true, is_settled: false };
        ((WidgetId(it.widget_id), it.sender_id), known)
    });
    let mut known: HashMap<_, _> = made.collect();
    known.extend(find_contacts(tx, senders, &known).await?);
    Ok(known)
}

/// The contacts behind these senders, but for those that are known.
async fn find_contacts(
    tx: &mut PgConnection,
    senders: Vec<(TenantId, WidgetId, &str)>,
    known: &HashMap<(WidgetId, String), Known>,
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    let unknown = senders.into_iter().filter(|it| !known.contains_key(&(it.1, it.2.to_owned())));
    let wanted =
        unknown.map(|(tenant, widget, sender)| Wanted { tenant, widget, external_id: None, sender: Some(sender) });
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(look_up(tx, &wanted).await?.contacts)
}

/// A room that takes messages.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct OpenRoom {
    pub id: RoomId,
    pub agent: Option<UserId>,
    pub last_seq: i64,
}

/// Locks the open rooms of these contacts.
pub async fn lock_open(
    tx: &mut PgConnection,
    tenants: &[Uuid],
    contacts: &[Uuid],
) -> sqlx::Result<HashMap<ContactId, OpenRoom>> {
    let rows = sqlx::query!(
        "select r.id, r.contact_id, r.agent_id, r.last_seq
        from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, contact_id)
        join rooms r on r.tenant_id = wanted.tenant_id and r.contact_id = wanted.contact_id and r.status <> 'closed'
        order by r.tenant_id, r.id
        for update of r",
        tenants,
        contacts,
    )
    .fetch_all(tx)
    .await?;
    let rooms = rows.into_iter().map(|it| {
        (
            ContactId(it.contact_id),
            OpenRoom { id: RoomId(it.id), agent: it.agent_id.map(UserId), last_seq: it.last_seq },
        )
    });
    Ok(rooms.collect())
}

/// The newest room of a contact, open or not, locked.
pub async fn lock_newest(tx: &mut PgConnection, tenant: TenantId, contact: ContactId) -> sqlx::Result<Option<RoomId>> {
    let id = sqlx::query_scalar!(
        "select id
        from rooms
        where tenant_id = $1 and contact_id = $2
        order by id desc
        limit 1
        for update",
        tenant.0,
        contact.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(id.map(RoomId))
}

/// A room about to be opened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct NewRoom {
    pub tenant: TenantId,
    pub id: RoomId,
    pub widget: WidgetId,
    pub contact: ContactId,
    pub status: Status,
    pub queue: Option<Uuid>,
    pub is_held: bool,
    /// Its own queue was full.
    pub is_overflow: bool,
    pub close_reason: Option<CloseReason>,
    pub referral: Option<Value>,
    /// Messages of the contact that it begins with.
    pub received: i32,
    pub window_look_at: Option<Moment>,
}

/// Opens rooms and notes why they are where they are, one statement for all of them.
pub async fn insert_rooms(
    tx: &mut PgConnection,
    rooms: &[NewRoom],
    decisions: &[NewDecision],
    now: Moment,
) -> sqlx::Result<()> {
    if rooms.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($of:ident, |$it:ident| $value:expr) => {
            &$of.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "with noted as (
            insert into routing_log (at, tenant_id, room_id, decision, reason, queue_id, wait_s)
            select $12, d.*
            from unnest($13::uuid[], $14::uuid[], $15::text[], $16::text[], $17::uuid[], $18::integer[]) as d
        )
        insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, is_held, close_reason, referral,
            window_look_at, unread, last_seq, unanswered_since, opened_at, queued_at, place_at, closed_at)
        select new.*, received, case when received > 0 then $12::timestamptz end, $12::timestamptz,
            case when queue_id is not null then $12::timestamptz end, case when queue_id is not null then $12::timestamptz end,
            case when status = 'closed' then $12::timestamptz end
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::boolean[], $8::text[], $9::jsonb[],
            $10::timestamptz[], $11::integer[])
            as new (tenant_id, id, widget_id, contact_id, status, queue_id, is_held, close_reason, referral, window_look_at, received)",
        column!(rooms, |it| it.tenant.0),
        column!(rooms, |it| it.id.0),
        column!(rooms, |it| it.widget.0),
        column!(rooms, |it| it.contact.0),
        column!(rooms, |it| it.status) as &[Status],
        column!(rooms, |it| it.queue) as &[Option<Uuid>],
        column!(rooms, |it| it.is_held),
        column!(rooms, |it| it.close_reason) as &[Option<CloseReason>],
        column!(rooms, |it| it.referral.clone()) as &[Option<Value>],
        column!(rooms, |it| it.window_look_at) as &[Option<Moment>],
        column!(rooms, |it| it.received),
        now,
        column!(decisions, |it| it.tenant.0),
        column!(decisions, |it| it.room.0),
        column!(decisions, |it| it.decision.as_str().to_owned()),
        column!(decisions, |it| it.reason.map(|reason| reason.as_str().to_owned())) as &[Option<String>],
        column!(decisions, |it| it.queue) as &[Option<Uuid>],
        column!(decisions, |it| it.wait_s) as &[Option<i32>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A room into which a batch writes.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Whose.
    pub tenant: TenantId,
    /// The room as the batch found it.
    pub found: OpenRoom,
    /// Messages it gets, all from its contact.
    pub received: i32,
    /// When the contact wrote the last of them.
    pub wrote_at: Moment,
}

/// What a contact's messages of a batch did.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Wrote {
    pub tenant: TenantId,
    pub contact: ContactId,
    pub at: Moment,
    pub ad_message_at: Option<Moment>,
}

/// Stores what a batch brings, in one statement: moves `last_seq` and `unread` of the rooms that get messages, notes that their contacts
/// wrote and wait, stores messages and events. False if a room has been written into, handed over or closed since it was found; its messages have
/// the wrong numbers then, and the transaction must not be committed.
///
/// That contacts wrote opens their windows, takes up where they came from, and shows that we may answer them (Meta sends an app only
/// what belongs to it). `wrote` are those of whom this has to be noted: the rest is in their rooms.
pub async fn write(
    tx: &mut PgConnection,
    rooms: &[Touched],
    wrote: &[Wrote],
    messages: &[NewMessage],
    events: &[NewEvent],
    now: Moment,
) -> sqlx::Result<bool> {
    macro_rules! column {
        ($of:ident, |$it:ident| $value:expr) => {
            &$of.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    let moved = sqlx::query_scalar!(
        r#"with moved as (
            update rooms r
            set last_seq = r.last_seq + t.received, unread = r.unread + t.received,
                wrote_at = greatest(r.wrote_at, t.wrote_at),
                unanswered_since = coalesce(r.unanswered_since, $1), answered_at = null, reminded_at = null
            from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::integer[], $32::timestamptz[])
                as t (tenant_id, id, agent_id, last_seq, received, wrote_at)
            where r.tenant_id = t.tenant_id and r.id = t.id and r.last_seq = t.last_seq and r.agent_id is not distinct from t.agent_id
              and r.status <> 'closed'
            returning r.id
        ), told as materialized (
            -- All rooms are locked by now.
            select events_xid() as xid
            from (select count(*) from moved) as done
        ), wrote as (
            update contacts c
            set last_inbound_at = greatest(c.last_inbound_at, w.at), ad_message_at = greatest(c.ad_message_at, w.ad_message_at),
                referral = null, thread_owner = case when c.thread_owner_at < w.at then null else c.thread_owner end
            from unnest($7::uuid[], $8::uuid[], $9::timestamptz[], $10::timestamptz[]) as w (tenant_id, id, at, ad_message_at)
            where c.tenant_id = w.tenant_id and c.id = w.id
        ), stored as (
            insert into messages (tenant_id, widget_id, external_at, id, room_id, seq, direction, author_kind, author_id, author_name,
                content, reply_to, status, external_id, created_at)
            select *
            from unnest($11::uuid[], $12::uuid[], $13::timestamptz[], $14::uuid[], $15::uuid[], $16::bigint[], $17::text[], $18::text[],
                $19::uuid[], $20::text[], $21::jsonb[], $22::uuid[], $23::text[], $24::text[], $25::timestamptz[])
            -- Else somebody else's message may have the number of one of these.
            where (select count(*) from moved) = cardinality($3::uuid[])
        ), logged as (
            insert into events (xid, at, tenant_id, kind, room_id, agent_id, former_agent_id, data)
            select (select xid from told), $1, e.tenant_id, e.kind, e.room_id, e.agent_id, e.former_agent_id, e.data::json
            from unnest($26::uuid[], $27::text[], $28::uuid[], $29::uuid[], $30::uuid[], $31::text[])
                as e (tenant_id, kind, room_id, agent_id, former_agent_id, data)
        )
        -- `moved` is read, so it is done first: rooms are locked before contacts, as everywhere.
        select count(*) as "moved!"
        from moved"#,
        now,
        column!(rooms, |it| it.tenant.0),
        column!(rooms, |it| it.found.id.0),
        column!(rooms, |it| it.found.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(rooms, |it| it.found.last_seq),
        column!(rooms, |it| it.received),
        column!(wrote, |it| it.tenant.0),
        column!(wrote, |it| it.contact.0),
        column!(wrote, |it| it.at),
        column!(wrote, |it| it.ad_message_at) as &[Option<Moment>],
        column!(messages, |it| it.tenant.0),
        column!(messages, |it| it.widget.0),
        column!(messages, |it| it.external_at) as &[Option<Moment>],
        column!(messages, |it| it.view.id.0),
        column!(messages, |it| it.view.room_id.0),
        column!(messages, |it| it.view.seq),
        column!(messages, |it| it.view.direction) as &[Direction],
        column!(messages, |it| it.view.author.kind) as &[AuthorKind],
        column!(messages, |it| it.view.author.id) as &[Option<Uuid>],
        column!(messages, |it| &*it.view.author.name) as &[&str],
        column!(messages, |it| Json(&it.view.content)) as &[Json<&Value>],
        column!(messages, |it| it.view.reply_to.map(|id| id.0)) as &[Option<Uuid>],
        column!(messages, |it| it.view.status) as &[Delivery],
        column!(messages, |it| it.view.external_id.as_deref()) as &[Option<&str>],
        column!(messages, |it| it.view.created_at),
        column!(events, |it| it.tenant.0),
        column!(events, |it| it.kind.name()) as &[&str],
        column!(events, |it| it.room.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.former_agent.map(|id| id.0)) as &[Option<Uuid>],
        column!(events, |it| it.data.get()) as &[&str],
        column!(rooms, |it| it.wrote_at),
    )
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(moved).is_ok_and(|it| it == rooms.len()))
}

/// Counts in a locked room what its page wrote elsewhere: the contact was answered.
pub async fn mark_answered_elsewhere(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms
        set last_seq = last_seq + 1, unanswered_since = null, answered_at = $3, agent_silent_at = null, reminded_at = null
        where tenant_id = $1 and id = $2",
        tenant.0,
        room.0,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The field (`email`, `phone`) that a contact was asked for last in their newest rooms and has not shared since.
pub async fn find_asked(tx: &mut PgConnection, tenant: TenantId, contact: ContactId) -> sqlx::Result<Option<String>> {
    let rows = sqlx::query!(
        r#"select m.content ->> 'kind' as "kind!", m.content ->> 'field' as field
        from messages m
        where m.tenant_id = $1
          and m.room_id in (select id from rooms where tenant_id = $1 and contact_id = $2 order by id desc limit 3)
          and m.content ->> 'kind' in ('request_field', 'shared_field')
        order by m.created_at desc, m.seq desc
        limit 1"#,
        tenant.0,
        contact.0,
    )
    .fetch_optional(tx)
    .await?;
    Ok(rows.filter(|it| it.kind == "request_field").and_then(|it| it.field))
}

/// Sets what a contact shared, and that they did.
pub async fn mark_shared(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    email: Option<&str>,
    phone: Option<&str>,
    now: Moment,
) -> sqlx::Result<()> {
    let shared = serde_json::json!({ "via": "shared", "at": crate::clock::show(now) });
    let fields = [("email", email), ("phone", phone)].into_iter().filter(|it| it.1.is_some());
    let origins: serde_json::Value = fields.map(|(field, _)| (field.to_owned(), shared.clone())).collect();
    sqlx::query!(
        "update contacts
        set email = coalesce($3, email), phone = coalesce($4, phone), updated_at = $5, facts = facts || $6
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        email,
        phone,
        now,
        origins,
    )
    .execute(tx)
    .await?;
    Ok(())
}
