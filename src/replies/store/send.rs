//! SQL of the outbox's sending side: claims, verdicts in sets, pauses.

use std::collections::HashSet;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::SealedPage;
use crate::{
    channels::messenger::window::Opened,
    clock::Moment,
    ids::{ContactId, MessageId, MetaAppId, RoomId, TenantId, UserId, WidgetId},
    rooms::{Author, AuthorKind, Delivery, Direction, MessageView, receipts::Changed},
    widgets::connect::Token,
};

/// A message that is due, locked, with all that decides whether it may go.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Due {
    pub tenant: TenantId,
    pub room: RoomId,
    pub seq: i64,
    pub message: MessageId,
    pub contact: ContactId,
    /// Tries before this one.
    pub attempts: i32,
    pub content: serde_json::Value,
    /// The channel's id of the message it answers.
    pub reply_to: Option<String>,
    pub author_kind: AuthorKind,
    pub sender_id: String,
    pub opened: Opened,
    pub human_agent: bool,
    /// When this person may be written to again.
    pub person_paused_until: Option<Moment>,
    /// Why they cannot be reached, if they cannot.
    pub unreachable: Option<serde_json::Value>,
    /// When Page and app may be used again.
    pub paused_until: Option<Moment>,
    /// The Page's health says that sending is in trouble.
    pub is_in_trouble: bool,
    pub widget: WidgetId,
    pub app: MetaAppId,
    /// None without a token that is accepted.
    pub page: Option<SealedPage>,
}

/// Most messages that one [`lock_due`] looks at. It stands in the statement as well: of a limit that is a parameter PostgreSQL assumes
/// a tenth of the table, and joins a long outbox in a way that reads all messages.
pub const MOST_LOOKED_AT: usize = 128;

/// Locks the first waiting message of each room that is due, oldest first, without those of the `skipped` Pages and tenants; up to
/// `most`, which is at most [`MOST_LOOKED_AT`]. A room's next message is not among them before the one ahead of it is settled.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn lock_due(
    tx: &mut PgConnection,
    now: Moment,
    skipped_pages: &[Uuid],
    skipped_tenants: &[Uuid],
    most: usize,
) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"with due as materialized (
            select *
            from (
                select o.tenant_id, o.room_id, o.seq, o.message_id, o.widget_id, o.attempts, o.due_at
                from outbox o
                where o.state = 'due'
                  and o.due_at <= $1
                  and o.widget_id <> all($2)
                  and o.tenant_id <> all($3)
                  and not exists (
                    select
                    from outbox earlier
                    where earlier.tenant_id = o.tenant_id and earlier.room_id = o.room_id and earlier.seq < o.seq)
                order by o.due_at
                limit 128
                for update of o skip locked) as first
            -- Stops locking there.
            limit $4
        )
        select o.tenant_id, o.room_id, o.seq, o.message_id, o.attempts, o.widget_id, m.content,
            (select p.external_id from messages p where p.tenant_id = m.tenant_id and p.id = m.reply_to) as reply_to,
            m.author_kind as "author_kind: AuthorKind", c.id as contact_id, c.sender_id,
            greatest(c.last_inbound_at, r.wrote_at) as last_inbound_at, c.ad_message_at,
            c.paused_until as person_paused_until,
            case when c.unreachable_since is not null and c.unreachable_inbound_at is not distinct from greatest(c.last_inbound_at, r.wrote_at)
                then c.unreachable_error end as unreachable,
            greatest(w.paused_until, a.paused_until) as paused_until,
            w.health_checks @> '[{"name": "sending"}]' as "is_in_trouble!",
            w.human_agent, w.page_id as "page_id!",
            case when w.page_token_state = 'ok' then w.page_token end as page_token,
            a.tenant_id as app_owner, a.id as app_id, a.app_secret
        from due o
        join messages m on m.tenant_id = o.tenant_id and m.id = o.message_id
        join rooms r on r.tenant_id = o.tenant_id and r.id = o.room_id
        join contacts c on c.tenant_id = r.tenant_id and c.id = r.contact_id
        -- Looked up one by one: joined, PostgreSQL reads all of the tenant's for each.
        cross join lateral (select * from widgets where tenant_id = o.tenant_id and id = o.widget_id limit 1) as w
        cross join lateral (select * from meta_apps where tenant_id = w.meta_app_owner and id = w.meta_app_id limit 1) as a
        order by o.due_at"#,
        now,
        skipped_pages,
        skipped_tenants,
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_all(tx)
    .await?;
    let due = rows.into_iter().map(|it| {
        let page = it.page_token.map(|page_token| SealedPage {
            widget: WidgetId(it.widget_id),
            page_id: it.page_id,
            page_token,
            app_owner: TenantId(it.app_owner),
            app: MetaAppId(it.app_id),
            app_secret: it.app_secret,
            paused_until: it.paused_until,
        });
        Due {
            tenant: TenantId(it.tenant_id),
            room: RoomId(it.room_id),
            seq: it.seq,
            message: MessageId(it.message_id),
            contact: ContactId(it.contact_id),
            attempts: it.attempts,
            content: it.content,
            reply_to: it.reply_to,
            author_kind: it.author_kind,
            sender_id: it.sender_id,
            opened: Opened { last_inbound_at: it.last_inbound_at, ad_message_at: it.ad_message_at },
            human_agent: it.human_agent,
            person_paused_until: it.person_paused_until,
            unreachable: it.unreachable,
            paused_until: it.paused_until,
            is_in_trouble: it.is_in_trouble,
            widget: WidgetId(it.widget_id),
            app: MetaAppId(it.app_id),
            page,
        }
    });
    Ok(due.collect())
}

macro_rules! column {
    ($list:expr, |$it:ident| $value:expr) => {
        &$list.iter().map(|$it| $value).collect::<Vec<_>>()
    };
}

/// Claims locked messages: from the commit on they may have been sent.
pub async fn mark_sending(tx: &mut PgConnection, claimed: &[&Due], claimed_until: Moment) -> sqlx::Result<()> {
    if claimed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update outbox o
        set state = 'sending', claimed_until = $4, attempts = o.attempts + 1
        from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as v (tenant_id, room_id, seq)
        where o.tenant_id = v.tenant_id and o.room_id = v.room_id and o.seq = v.seq and o.state = 'due'",
        column!(claimed, |it| it.tenant.0),
        column!(claimed, |it| it.room.0),
        column!(claimed, |it| it.seq),
        claimed_until,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A claimed message is still being seen to until then.
pub async fn extend_claim(db: &PgPool, it: &Due, claimed_until: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox
        set claimed_until = $4
        where tenant_id = $1 and room_id = $2 and seq = $3 and state = 'sending'",
        it.tenant.0,
        it.room.0,
        it.seq,
        claimed_until,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A locked message is not looked at before then.
pub async fn postpone(tx: &mut PgConnection, it: &Due, until: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox
        set due_at = $4
        where tenant_id = $1 and room_id = $2 and seq = $3 and state = 'due'",
        it.tenant.0,
        it.room.0,
        it.seq,
        until,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Nothing of a Page is looked at before then, so that what must wait does not stand in the way of what need not. Rows that
/// somebody else holds are left to the next look.
pub async fn postpone_page(
    tx: &mut PgConnection,
    tenant: TenantId,
    widget: WidgetId,
    until: Moment,
) -> sqlx::Result<()> {
    sqlx::query!(
        "with waiting as (
            select tenant_id, room_id, seq
            from outbox
            where tenant_id = $1 and widget_id = $2 and state = 'due' and due_at < $3
            for update skip locked
        )
        update outbox o
        set due_at = $3
        from waiting v
        where o.tenant_id = v.tenant_id and o.room_id = v.room_id and o.seq = v.seq",
        tenant.0,
        widget.0,
        until,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A Page has a token that works: its replies need not wait for one any more. A pause ends only with a new token: Meta lengthens a
/// block for whoever calls on.
pub async fn release_page(
    db: &PgPool,
    tenant: TenantId,
    widget: WidgetId,
    token: Token,
    now: Moment,
) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(db).await?;
    if token == Token::New {
        sqlx::query!(
            "update widgets set paused_until = null where tenant_id = $1 and id = $2 and paused_until is not null",
            tenant.0,
            widget.0,
        )
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query!(
        "update outbox set due_at = $3 where tenant_id = $1 and widget_id = $2 and state = 'due' and due_at > $3",
        tenant.0,
        widget.0,
        now,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// What identifies a claimed message.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Claim {
    pub tenant: TenantId,
    pub room: RoomId,
    pub seq: i64,
    pub message: MessageId,
    pub widget: WidgetId,
}

/// Locks messages whose verdicts are to be recorded; which are locked. With `waits` false, those that somebody else holds (an echo
/// is settling them) are left out, so that two sets can never wait for each other.
pub async fn lock_messages(tx: &mut PgConnection, claims: &[Claim], waits: bool) -> sqlx::Result<Vec<MessageId>> {
    let (tenants, ids) = (column!(claims, |it| it.tenant.0), column!(claims, |it| it.message.0));
    let rows = if waits {
        let locked = sqlx::query_scalar!(
            "select m.id
            from messages m
            join unnest($1::uuid[], $2::uuid[]) as v (tenant_id, id) on m.tenant_id = v.tenant_id and m.id = v.id
            for update of m",
            tenants,
            ids,
        );
        locked.fetch_all(tx).await?
    } else {
        let locked = sqlx::query_scalar!(
            "select m.id
            from messages m
            join unnest($1::uuid[], $2::uuid[]) as v (tenant_id, id) on m.tenant_id = v.tenant_id and m.id = v.id
            for update of m skip locked",
            tenants,
            ids,
        );
        locked.fetch_all(tx).await?
    };
    Ok(rows.into_iter().map(MessageId).collect())
}

/// What [`settle_sent`] did.
#[derive(Debug, Default)]
pub struct Settled {
    /// Those that it got hold of. Somebody else has the others locked.
    pub done: HashSet<MessageId>,
    /// Messages that have changed, each with its tenant and who holds its room; without those whose echo was quicker.
    pub changed: Vec<(TenantId, MessageView, Option<UserId>)>,
    /// Rooms of these have a next message.
    pub has_next: bool,
}

/// Takes messages off their way that the channel has accepted, and marks them so, unless an echo was quicker. Those that somebody else
/// has locked (an echo is settling them) are left out, so that two sets can never wait for each other. A receipt that names one of them may
/// have been quicker, too; its row goes with the echo, or with old age.
pub async fn settle_sent(tx: &mut PgConnection, sent: &[(Claim, Option<&str>)], now: Moment) -> sqlx::Result<Settled> {
    if sent.is_empty() {
        return Ok(Settled::default());
    }
    let rows = sqlx::query!(
        r#"with locked as materialized (
            select v.*, m.direction = 'outbound' and m.external_id is null and m.status in ('queued', 'failed', 'uncertain') as is_open
            from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $7::uuid[])
                as v (tenant_id, id, room_id, seq, external_id, widget_id)
            join messages m on m.tenant_id = v.tenant_id and m.id = v.id
            for update of m skip locked
        ), marked as (
            update messages m
            set status = coalesce(e.kind, 'sent'), external_id = l.external_id, sent_at = coalesce(m.sent_at, $6), error = null,
                delivered_at = coalesce(m.delivered_at, e.at), read_at = case when e.kind = 'read' then e.at else m.read_at end
            from locked l
            left join lateral (
                select kind, at
                from early_changes
                where tenant_id = l.tenant_id
                  and widget_id = l.widget_id
                  and external_id = l.external_id
                  and kind in ('delivered', 'read')
                order by kind desc
                limit 1) as e on true
            where l.is_open and m.tenant_id = l.tenant_id and m.id = l.id
            returning m.tenant_id, m.id, m.room_id, m.seq, m as message
        ), gone as (
            delete from outbox o
            using locked l
            where o.tenant_id = l.tenant_id and o.room_id = l.room_id and o.seq = l.seq
        ), settled as (
            -- Not a join: of two sets whose sizes PostgreSQL cannot know it makes a loop in a loop.
            select tenant_id, id, room_id, seq, message
            from marked
            union all
            select tenant_id, id, room_id, seq, null
            from locked
            where not is_open
        )
        select s.id as "locked!", s.tenant_id as "tenant_id!", r.agent_id as "agent_id?", (s.message).id as "id?", s.room_id as "room_id!",
            s.seq as "seq!", (s.message).direction as "direction?: Direction", (s.message).author_kind as "author_kind?: AuthorKind",
            (s.message).author_id as "author_id?", (s.message).author_name as "author_name?", (s.message).content as "content?",
            (s.message).reply_to as "reply_to?", (s.message).reactions as "reactions?", (s.message).status as "status?: Delivery",
            (s.message).edited_at as "edited_at?", (s.message).error as "error?", (s.message).external_id as "external_id?",
            (s.message).created_at as "created_at?", (s.message).sent_at as "sent_at?", (s.message).delivered_at as "delivered_at?",
            (s.message).read_at as "read_at?",
            exists (
                select
                from outbox later
                where later.tenant_id = s.tenant_id and later.room_id = s.room_id and later.seq > s.seq) as "has_next!"
        from settled s
        left join rooms r on r.tenant_id = s.tenant_id and r.id = s.room_id"#,
        column!(sent, |it| it.0.tenant.0),
        column!(sent, |it| it.0.message.0),
        column!(sent, |it| it.0.room.0),
        column!(sent, |it| it.0.seq),
        column!(sent, |it| it.1) as &[Option<&str>],
        now,
        column!(sent, |it| it.0.widget.0),
    )
    .fetch_all(tx)
    .await?;
    let mut settled = Settled::default();
    for it in rows {
        settled.done.insert(MessageId(it.locked));
        settled.has_next |= it.has_next;
        // Null, all of it, where nothing was marked.
        let view = || {
            Some(MessageView {
                id: MessageId(it.id?),
                room_id: RoomId(it.room_id),
                seq: it.seq,
                direction: it.direction?,
                author: Author { kind: it.author_kind?, id: it.author_id, name: it.author_name? },
                content: it.content?,
                reply_to: it.reply_to.map(MessageId),
                reactions: it.reactions?,
                status: it.status?,
                edited_at: it.edited_at,
                error: it.error,
                external_id: it.external_id,
                created_at: it.created_at?,
                sent_at: it.sent_at,
                delivered_at: it.delivered_at,
                read_at: it.read_at,
            })
        };
        if let Some(view) = view() {
            settled.changed.push((TenantId(it.tenant_id), view, it.agent_id.map(UserId)));
        }
    }
    Ok(settled)
}

fn changed(tenant: Uuid, message: Uuid, room: Uuid) -> (TenantId, Changed) {
    (TenantId(tenant), Changed { message: MessageId(message), room: RoomId(room) })
}

/// Marks messages as failed or uncertain, unless an echo settled them; which.
pub async fn mark_ended(
    tx: &mut PgConnection,
    ended: &[(Claim, &str, serde_json::Value)],
) -> sqlx::Result<Vec<(TenantId, Changed)>> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "update messages m
        set status = v.status, error = v.error
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[]) as v (tenant_id, id, status, error)
        where m.tenant_id = v.tenant_id and m.id = v.id and m.external_id is null and m.status = 'queued'
        returning m.tenant_id, m.id, m.room_id",
        column!(ended, |it| it.0.tenant.0),
        column!(ended, |it| it.0.message.0),
        column!(ended, |it| it.1.to_owned()),
        column!(ended, |it| it.2.clone()),
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| changed(it.tenant_id, it.id, it.room_id)).collect())
}

/// These are no longer on their way. The rooms' next messages may go.
pub async fn delete_claims(tx: &mut PgConnection, claims: &[Claim]) -> sqlx::Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from outbox o
        using unnest($1::uuid[], $2::uuid[], $3::bigint[]) as v (tenant_id, room_id, seq)
        where o.tenant_id = v.tenant_id and o.room_id = v.room_id and o.seq = v.seq",
        column!(claims, |it| it.tenant.0),
        column!(claims, |it| it.room.0),
        column!(claims, |it| it.seq),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// These have not been sent: again at their moments. The flag is false where it was not the message's fault.
pub async fn mark_due(tx: &mut PgConnection, again: &[(Claim, Moment, bool)]) -> sqlx::Result<()> {
    if again.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update outbox o
        set state = 'due', claimed_until = null, due_at = v.due_at, attempts = o.attempts - case when v.counts then 0 else 1 end
        from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bool[]) as v (tenant_id, room_id, seq, due_at, counts)
        where o.tenant_id = v.tenant_id and o.room_id = v.room_id and o.seq = v.seq and o.state = 'sending'",
        column!(again, |it| it.0.tenant.0),
        column!(again, |it| it.0.room.0),
        column!(again, |it| it.0.seq),
        column!(again, |it| it.1),
        column!(again, |it| it.2),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Messages whose sender died with the claim: they may have been sent. Each with when it was claimed at the latest.
pub async fn list_orphaned(db: &PgPool, now: Moment, limit: i64) -> sqlx::Result<Vec<(Claim, Moment)>> {
    let rows = sqlx::query!(
        r#"select tenant_id, room_id, seq, message_id, widget_id, claimed_until as "claimed_until!"
        from outbox
        where state = 'sending' and claimed_until < $1
        limit $2"#,
        now,
        limit,
    )
    .fetch_all(db)
    .await?;
    let claims = rows.into_iter().map(|it| {
        let claim = Claim {
            tenant: TenantId(it.tenant_id),
            room: RoomId(it.room_id),
            seq: it.seq,
            message: MessageId(it.message_id),
            widget: WidgetId(it.widget_id),
        };
        (claim, it.claimed_until)
    });
    Ok(claims.collect())
}

/// Who is left alone for a while.
#[derive(Clone, Copy, Debug)]
pub enum Paused {
    /// A Page.
    Page(TenantId, WidgetId),
    /// An app of this owner, with all its Pages.
    App(TenantId, MetaAppId),
    /// A person on a Page.
    Person(TenantId, ContactId),
}

/// Leaves somebody alone until then; never makes a pause shorter.
pub async fn mark_paused(db: &PgPool, who: Paused, until: Moment) -> sqlx::Result<()> {
    let done = match who {
        Paused::Page(tenant, widget) => sqlx::query!(
            "update widgets set paused_until = greatest(paused_until, $3) where tenant_id = $1 and id = $2",
            tenant.0,
            widget.0,
            until,
        ),
        Paused::App(owner, app) => sqlx::query!(
            "update meta_apps set paused_until = greatest(paused_until, $3) where tenant_id = $1 and id = $2",
            owner.0,
            app.0,
            until,
        ),
        Paused::Person(tenant, contact) => sqlx::query!(
            "update contacts set paused_until = greatest(paused_until, $3) where tenant_id = $1 and id = $2",
            tenant.0,
            contact.0,
            until,
        ),
    };
    done.execute(db).await?;
    Ok(())
}

/// The person cannot be reached until they write again; if they have written since the send, they can.
pub async fn mark_unreachable(db: &PgPool, it: &Due, error: &serde_json::Value, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts
        set unreachable_since = $3, unreachable_inbound_at = $4, unreachable_error = $5
        where tenant_id = $1 and id = $2",
        it.tenant.0,
        it.contact.0,
        now,
        it.opened.last_inbound_at,
        error,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A person has decided to try somebody again who could not be reached.
pub async fn clear_unreachable(tx: &mut PgConnection, tenant: TenantId, contact: ContactId) -> sqlx::Result<()> {
    sqlx::query!(
        "update contacts set unreachable_since = null where tenant_id = $1 and id = $2 and unreachable_since is not null",
        tenant.0,
        contact.0,
    )
    .execute(tx)
    .await?;
    Ok(())
}
