//! SQL of receiving: every statement works on a whole batch, so that its cost is shared by all messages that came together.
//! Contacts and rooms are taken in key order, so that two workers cannot wait for each other.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{ContactId, MessageId, RoomId, TenantId, UserId, WidgetId},
    rooms::{CloseReason, Status},
};

/// What is stored already about external ids.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The messages that have them.
    pub messages: HashMap<(WidgetId, String), (MessageId, RoomId)>,
    /// Those for whose message a change waits.
    pub early: HashSet<(WidgetId, String)>,
}

/// What is stored already under these external ids. The three slices go together.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_known(
    tx: &mut PgConnection,
    tenants: &[Uuid],
    widgets: &[Uuid],
    external_ids: &[String],
) -> sqlx::Result<Stored> {
    let rows = sqlx::query!(
        r#"select m.widget_id as "widget_id!", m.external_id as "external_id!", m.id as "id?", m.room_id as "room_id?"
        from unnest($1::uuid[], $2::uuid[], $3::text[]) as wanted (tenant_id, widget_id, external_id)
        join messages m
          on m.tenant_id = wanted.tenant_id
         and m.widget_id = wanted.widget_id
         and hashtextextended(m.external_id, 0) = hashtextextended(wanted.external_id, 0)
         and hashtextextended(m.external_id, 1) = hashtextextended(wanted.external_id, 1)
         and m.external_id = wanted.external_id
        union all
        select e.widget_id, e.external_id, null, null
        from unnest($1::uuid[], $2::uuid[], $3::text[]) as wanted (tenant_id, widget_id, external_id)
        join early_changes e
          on e.tenant_id = wanted.tenant_id and e.widget_id = wanted.widget_id and e.external_id = wanted.external_id"#,
        tenants,
        widgets,
        external_ids,
    )
    .fetch_all(tx)
    .await?;
    let mut stored = Stored::default();
    for it in rows {
        let key = (WidgetId(it.widget_id), it.external_id);
        match it.id.zip(it.room_id) {
            Some((message, room)) => drop(stored.messages.insert(key, (MessageId(message), RoomId(room)))),
            None => drop(stored.early.insert(key)),
        }
    }
    Ok(stored)
}

/// A contact who wrote.
#[derive(Clone, Debug)]
pub struct Known {
    /// The contact.
    pub id: ContactId,
    /// Name, once known.
    pub name: Option<String>,
    /// Where they came in from and when, if they have not written since.
    pub referral: Option<(serde_json::Value, Moment)>,
    /// Their open room, not locked: somebody may be closing it.
    pub room: Option<RoomId>,
}

/// The contacts behind these senders, made where they are new. Senders are distinct and in key order.
pub async fn upsert_contacts(
    tx: &mut PgConnection,
    senders: &[(TenantId, WidgetId, String)],
    now: Moment,
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    let mut known = find_contacts(tx, senders).await?;
    let missing: Vec<_> =
        senders.iter().filter(|(_, widget, sender)| !known.contains_key(&(*widget, sender.clone()))).cloned().collect();
    if !missing.is_empty() {
        sqlx::query!(
            "insert into contacts (id, tenant_id, widget_id, sender_id, created_at, updated_at)
            select new.*, $5, $5
            from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) as new
            on conflict on constraint contacts_sender_key do nothing",
            &missing.iter().map(|_| ContactId::fresh(now).0).collect::<Vec<_>>(),
            &missing.iter().map(|it| it.0.0).collect::<Vec<_>>(),
            &missing.iter().map(|it| it.1.0).collect::<Vec<_>>(),
            &missing.iter().map(|it| it.2.clone()).collect::<Vec<_>>(),
            now,
        )
        .execute(&mut *tx)
        .await?;
        known.extend(find_contacts(tx, &missing).await?);
    }
    Ok(known)
}

async fn find_contacts(
    tx: &mut PgConnection,
    senders: &[(TenantId, WidgetId, String)],
) -> sqlx::Result<HashMap<(WidgetId, String), Known>> {
    let rows = sqlx::query!(
        r#"select c.id as "id!", c.widget_id as "widget_id!", c.sender_id as "sender_id!", c.name, c.referral, c.referral_at, r.id as "room_id?"
        from unnest($1::uuid[], $2::uuid[], $3::text[]) as wanted (tenant_id, widget_id, sender_id)
        join contacts c on c.tenant_id = wanted.tenant_id and c.widget_id = wanted.widget_id and c.sender_id = wanted.sender_id
        left join rooms r on r.tenant_id = c.tenant_id and r.contact_id = c.id and r.status <> 'closed'"#,
        &senders.iter().map(|it| it.0.0).collect::<Vec<_>>(),
        &senders.iter().map(|it| it.1.0).collect::<Vec<_>>(),
        &senders.iter().map(|it| it.2.clone()).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| {
            let (id, referral, room) = (ContactId(it.id), it.referral.zip(it.referral_at), it.room_id.map(RoomId));
            let known = Known { id, name: it.name, referral, room };
            ((WidgetId(it.widget_id), it.sender_id), known)
        })
        .collect())
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
    pub referral: Option<serde_json::Value>,
}

/// Opens rooms, one statement for all of them.
pub async fn insert_rooms(tx: &mut PgConnection, rooms: &[NewRoom], now: Moment) -> sqlx::Result<()> {
    if rooms.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        (|$it:ident| $value:expr) => {
            &rooms.iter().map(|$it| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into rooms (tenant_id, id, widget_id, contact_id, status, queue_id, is_held, close_reason, referral,
            opened_at, queued_at, place_at, closed_at)
        select new.*, $10::timestamptz, case when queue_id is not null then $10::timestamptz end,
            case when queue_id is not null then $10::timestamptz end, case when status = 'closed' then $10::timestamptz end
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::boolean[], $8::text[], $9::jsonb[])
            as new (tenant_id, id, widget_id, contact_id, status, queue_id, is_held, close_reason, referral)",
        column!(|it| it.tenant.0),
        column!(|it| it.id.0),
        column!(|it| it.widget.0),
        column!(|it| it.contact.0),
        column!(|it| it.status) as &[Status],
        column!(|it| it.queue) as &[Option<Uuid>],
        column!(|it| it.is_held),
        column!(|it| it.close_reason) as &[Option<CloseReason>],
        column!(|it| it.referral.clone()) as &[Option<serde_json::Value>],
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a batch did to a room.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Touched {
    pub tenant: TenantId,
    pub room: RoomId,
    pub messages: i64,
    pub received: i32,
}

/// Moves `last_seq` and `unread` of the rooms that get messages, and notes who waits for whom: what the page wrote elsewhere is an
/// answer. The rooms as they were, locked: they are taken in the order given, which must be that of their keys. With `only_open`,
/// rooms that have been closed meanwhile are left out.
pub async fn mark_received(
    tx: &mut PgConnection,
    rooms: &[Touched],
    only_open: bool,
    now: Moment,
) -> sqlx::Result<HashMap<RoomId, OpenRoom>> {
    let rows = sqlx::query!(
        r#"update rooms r
        set last_seq = r.last_seq + t.messages, unread = r.unread + t.received,
            unanswered_since = case when t.received > 0 then coalesce(r.unanswered_since, $5) end,
            answered_at = case when t.received = 0 then $5::timestamptz end,
            agent_silent_at = case when t.received > 0 then r.agent_silent_at end,
            reminded_at = null
        from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::integer[]) as t (tenant_id, id, messages, received)
        where r.tenant_id = t.tenant_id and r.id = t.id and (r.status <> 'closed' or not $6)
        returning r.id, r.agent_id, r.last_seq - t.messages as "last_seq!""#,
        &rooms.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
        &rooms.iter().map(|it| it.room.0).collect::<Vec<_>>(),
        &rooms.iter().map(|it| it.messages).collect::<Vec<_>>(),
        &rooms.iter().map(|it| it.received).collect::<Vec<_>>(),
        now,
        only_open,
    )
    .fetch_all(tx)
    .await?;
    let rooms = rows.into_iter().map(|it| {
        (RoomId(it.id), OpenRoom { id: RoomId(it.id), agent: it.agent_id.map(UserId), last_seq: it.last_seq })
    });
    Ok(rooms.collect())
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

/// The contacts wrote: that opens their windows, takes up where they came from, and shows that we may answer them (Meta sends an
/// app only what belongs to it).
pub async fn mark_wrote(tx: &mut PgConnection, wrote: &[Wrote]) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts c
        set last_inbound_at = greatest(c.last_inbound_at, w.at), ad_message_at = greatest(c.ad_message_at, w.ad_message_at), referral = null,
            thread_owner = case when c.thread_owner_at < w.at then null else c.thread_owner end
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[]) as w (tenant_id, id, at, ad_message_at)
        where c.tenant_id = w.tenant_id and c.id = w.id",
        &wrote.iter().map(|it| it.tenant.0).collect::<Vec<_>>(),
        &wrote.iter().map(|it| it.contact.0).collect::<Vec<_>>(),
        &wrote.iter().map(|it| it.at).collect::<Vec<_>>(),
        &wrote.iter().map(|it| it.ad_message_at).collect::<Vec<_>>() as &[Option<Moment>],
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

/// Sets what a contact shared.
pub async fn mark_shared(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    email: Option<&str>,
    phone: Option<&str>,
    now: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts
        set email = coalesce($3, email), phone = coalesce($4, phone), updated_at = $5
        where tenant_id = $1 and id = $2",
        tenant.0,
        contact.0,
        email,
        phone,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}
