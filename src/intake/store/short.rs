//! SQL of the short way.

use sqlx::PgConnection;

use crate::{
    ids::{ContactId, RoomId, TenantId, UserId, WidgetId},
    intake::{NewItem, Plain},
    rooms::store::receive::{Known, OpenRoom},
};

/// Where a message may be stored at once.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Ready {
    pub tenant: TenantId,
    pub widget: WidgetId,
    /// With the room, locked.
    pub contact: Known,
}

/// Which of these messages may be stored in their rooms at once, by their number: the contact's room is open, nobody else is changing
/// it, nothing of theirs waits to be applied before it, and it is neither there already nor changed before it came.
///
/// What another process accepted and has not begun to apply is seen as waiting; what it has begun to apply locks the room, or is seen.
///
/// # Errors
/// The database's.
pub async fn lock_ready(tx: &mut PgConnection, messages: &[(&NewItem, &Plain)]) -> sqlx::Result<Vec<(usize, Ready)>> {
    macro_rules! column {
        (|$it:ident, $plain:ident| $value:expr) => {
            &messages.iter().map(|($it, $plain)| $value).collect::<Vec<_>>()
        };
    }
    let rows = sqlx::query!(
        r#"select i.nth as "nth!", w.tenant_id, w.id as widget_id, c.id as contact_id, c.name, c.is_settled as "is_settled!", r.id as room_id, r.agent_id, r.last_seq
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[]) with ordinality
            as i (owner, app, page_id, shard, sender, external_id, nth)
        -- The limits are there for their order: one after the other for each message, by key.
        cross join lateral (
            select tenant_id, id
            from widgets
            where meta_app_owner = i.owner and meta_app_id = i.app and page_id = i.page_id
            limit 1) as w
        cross join lateral (
            select id, name, last_inbound_at is not null and thread_owner is null as is_settled
            from contacts
            where tenant_id = w.tenant_id and widget_id = w.id and sender_id = i.sender and referral is null
            limit 1) as c
        cross join lateral (
            select
            where not exists (
                select
                from pending
                where tenant_id = w.tenant_id and shard = i.shard)
              and not exists (
                select
                from messages
                where tenant_id = w.tenant_id
                  and widget_id = w.id
                  and hashtextextended(external_id, 0) = hashtextextended(i.external_id, 0)
                  and hashtextextended(external_id, uuid_hash_extended(widget_id, 1))
                    = hashtextextended(i.external_id, uuid_hash_extended(w.id, 1))
                  and external_id is not null)
              and not exists (
                select
                from early_changes
                where tenant_id = w.tenant_id and widget_id = w.id and external_id = i.external_id)
            limit 1) as nothing
        join rooms r on r.tenant_id = w.tenant_id and r.contact_id = c.id and r.status <> 'closed'
        for no key update of r skip locked"#,
        column!(|it, _plain| it.owner.0),
        column!(|it, _plain| it.app.0),
        column!(|it, _plain| &*it.page_id) as &[&str],
        column!(|it, _plain| it.shard),
        column!(|it, _plain| &*it.sender) as &[&str],
        column!(|_it, plain| &*plain.external_id) as &[&str],
    )
    .fetch_all(tx)
    .await?;
    let ready = rows.into_iter().filter_map(|it| {
        let room = OpenRoom { id: RoomId(it.room_id), agent: it.agent_id.map(UserId), last_seq: it.last_seq };
        let contact = Known {
            id: ContactId(it.contact_id),
            name: it.name,
            referral: None,
            room: Some(room),
            is_new: false,
            is_settled: it.is_settled,
        };
        let ready = Ready { tenant: TenantId(it.tenant_id), widget: WidgetId(it.widget_id), contact };
        Some((usize::try_from(it.nth - 1).ok()?, ready))
    });
    Ok(ready.collect())
}
