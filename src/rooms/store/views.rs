//! SQL of rooms as the API shows them.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    channels::messenger::window::Opened,
    clock::Moment,
    ids::{ContactId, RoomId, TenantId, UserId, WidgetId},
    rooms::{CloseReason, Named, Offer, RoomContact, RoomView, RoomWidget, Status, ThreadOwner, estimate, window},
};

/// One room as the API shows it.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn find_view(
    db: &mut PgConnection,
    tenant: TenantId,
    room: RoomId,
    now: Moment,
) -> sqlx::Result<Option<RoomView>> {
    Ok(list_views(db, &[tenant.0], &[room.0], now).await?.into_iter().next().map(|(_, view)| view))
}

/// Rooms as the API shows them, in the order of `rooms`; each with its tenant. `tenants` and `rooms` go in pairs.
pub async fn list_views(
    db: &mut PgConnection,
    tenants: &[Uuid],
    rooms: &[Uuid],
    now: Moment,
) -> sqlx::Result<Vec<(TenantId, RoomView)>> {
    let rows = sqlx::query!(
        r#"select r.tenant_id, r.id, r.status as "status: Status", r.tags, r.last_seq, r.unread, r.referral,
            r.close_reason as "close_reason: CloseReason", r.opened_at, r.queued_at, r.accepted_at, r.closed_at, r.offer_expires_at,
            r.agent_id, u.name as "agent_name?", r.queue_id, q.name as "queue_name?",
            w.id as widget_id, w.name as widget_name, w.channel, w.color, w.human_agent,
            c.id as contact_id, c.name as contact_name, c.first_name, c.picture_url, c.email, c.phone, c.sender_id,
            greatest(c.last_inbound_at, r.wrote_at) as last_inbound_at, c.ad_message_at,
            c.thread_owner, c.thread_owner_at,
            r.agent_silent_at
        from unnest($1::uuid[], $2::uuid[]) with ordinality as wanted (tenant_id, id, nth)
        join rooms r on r.tenant_id = wanted.tenant_id and r.id = wanted.id
        join widgets w on w.tenant_id = r.tenant_id and w.id = r.widget_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        left join queues q on q.tenant_id = r.tenant_id and q.id = r.queue_id
        left join users u on u.tenant_id = r.tenant_id and u.id = r.agent_id
        order by wanted.nth"#,
        tenants,
        rooms,
    )
    .fetch_all(&mut *db)
    .await?;
    let waiting = rows.iter().filter(|it| it.status == Status::Waiting).map(|it| (it.tenant_id, it.id));
    let (of, waiting): (Vec<_>, Vec<_>) = waiting.unzip();
    let places = if waiting.is_empty() { HashMap::new() } else { list_places(db, &of, &waiting, now).await? };
    let views = rows.into_iter().map(|it| {
        let agent_id = it.agent_id.map(UserId);
        let place = places.get(&(it.tenant_id, it.id));
        let view = RoomView {
            id: RoomId(it.id),
            status: it.status,
            window: (it.channel == "messenger").then(|| {
                window(
                    Opened { last_inbound_at: it.last_inbound_at, ad_message_at: it.ad_message_at },
                    it.human_agent,
                    now,
                )
            }),
            widget: RoomWidget {
                id: WidgetId(it.widget_id),
                name: it.widget_name,
                channel: it.channel,
                color: it.color,
            },
            queue: it.queue_id.map(|id| Named { id, name: it.queue_name.unwrap_or_default() }),
            contact: RoomContact {
                id: ContactId(it.contact_id),
                name: it.contact_name,
                first_name: it.first_name,
                picture_url: it.picture_url,
                email: it.email,
                phone: it.phone,
                sender_id: it.sender_id,
            },
            offer: agent_id.zip(it.offer_expires_at).map(|(agent_id, expires_at)| Offer { agent_id, expires_at }),
            agent: it
                .agent_id
                .filter(|_| it.status != Status::Offered)
                .map(|id| Named { id, name: it.agent_name.unwrap_or_default() }),
            thread_owner: ThreadOwner::of(it.thread_owner, it.thread_owner_at, now),
            position: place.map(|it| it.position),
            estimated_wait_s: place.and_then(|it| {
                let (answers, since) = it.pace?;
                estimate(it.position, answers, since, now)
            }),
            agent_silent_since: it.agent_silent_at,
            referral: it.referral,
            tags: it.tags,
            last_seq: it.last_seq,
            unread: it.unread,
            close_reason: it.close_reason,
            opened_at: it.opened_at,
            queued_at: it.queued_at,
            accepted_at: it.accepted_at,
            closed_at: it.closed_at,
        };
        (TenantId(it.tenant_id), view)
    });
    Ok(views.collect())
}

/// Where a waiting room stands.
struct Place {
    position: i64,
    /// Answers that its queue gave lately, and since when; none for a room that is held.
    pace: Option<(i64, Moment)>,
}

/// Where these rooms stand, all of which wait. `tenants` and `rooms` go in pairs.
async fn list_places(
    db: &mut PgConnection,
    tenants: &[Uuid],
    rooms: &[Uuid],
    now: Moment,
) -> sqlx::Result<HashMap<(Uuid, Uuid), Place>> {
    let rows = sqlx::query!(
        r#"with lines as materialized (
            -- By key, before anything else: an index of all that wait looks good as long as the tables have not been analyzed.
            select distinct r.tenant_id, r.queue_id
            from unnest($1::uuid[], $2::uuid[]) as wanted (tenant_id, id)
            join rooms r on r.tenant_id = wanted.tenant_id and r.id = wanted.id
        ), places as materialized (
            -- Each queue is counted through once, however many of its rooms are asked for. Rooms that are held for their opening are no
            -- part of the line that is served now: they have one of their own.
            select numbered.tenant_id, numbered.id, numbered.queue_id, numbered.is_held, numbered.position
            from (
                select p.tenant_id, p.id, p.queue_id, p.is_held,
                    row_number() over (partition by p.tenant_id, p.queue_id, p.is_held order by p.place_at, p.id) as position
                from lines
                join rooms p on p.tenant_id = lines.tenant_id and p.queue_id = lines.queue_id and p.status = 'waiting') as numbered
            where numbered.id = any($2)
        ), paces as materialized (
            -- How fast each of these queues was answered lately: its last answers, and since when.
            select lines.tenant_id, lines.queue_id, count(*) as answers, min(last.at) as since
            from lines
            cross join lateral (
                select l.at
                from routing_log l
                where l.tenant_id = lines.tenant_id
                  and l.queue_id = lines.queue_id
                  and l.wait_s is not null
                  and l.decision in ('accepted', 'assigned', 'taken')
                  and l.at > $3::timestamptz - interval '1 hour'
                order by l.at desc
                limit 20) as last
            group by lines.tenant_id, lines.queue_id
        )
        select p.tenant_id as "tenant_id!", p.id as "id!", p.position as "position!", pace.answers as "answers?", pace.since as "since?"
        from places p
        left join paces pace on pace.tenant_id = p.tenant_id and pace.queue_id = p.queue_id and not p.is_held"#,
        tenants,
        rooms,
        now,
    )
    .fetch_all(db)
    .await?;
    let places = rows
        .into_iter()
        .map(|it| ((it.tenant_id, it.id), Place { position: it.position, pace: it.answers.zip(it.since) }));
    Ok(places.collect())
}
