//! SQL of what the clock makes due. Each look begins with the queues that have the setting (a partial index) and goes into their waiting
//! or active rooms by index, so that its cost follows what is due and not how many rooms there ever were.

use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::{
    clock::Moment,
    ids::{RoomId, TenantId},
};

/// Most rooms of one kind that one step takes on.
const MOST_AT_ONCE: i64 = 100;

/// A room for which something is due; to be looked at again once it is locked.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct Due {
    pub tenant: TenantId,
    pub room: RoomId,
}

/// Frees the seats whose wrap-up is over; the tenants in which there were any.
///
/// # Errors
/// The database's, as everywhere in this file.
pub async fn end_wrap_ups(db: &PgPool, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let mut tenants = sqlx::query_scalar!(
        "with over as (
            select tenant_id, id
            from rooms
            where seat_until <= $1
            limit 1000
            for update skip locked
        )
        update rooms r
        set seat_until = null
        from over
        where r.tenant_id = over.tenant_id and r.id = over.id
        returning r.tenant_id",
        now,
    )
    .fetch_all(db)
    .await?;
    tenants.sort_unstable();
    tenants.dedup();
    Ok(tenants.into_iter().map(TenantId).collect())
}

/// Tenants with rooms that have waited longer than their queue allows.
pub async fn list_overflowing(db: &PgPool, now: Moment) -> sqlx::Result<Vec<TenantId>> {
    let tenants = sqlx::query_scalar!(
        "select distinct q.tenant_id
        from queues q
        join queues t on t.tenant_id = q.tenant_id and t.id = q.overflow_queue_id
        where q.overflow_after_s is not null
          and exists (
            select
            from rooms r
            where r.tenant_id = q.tenant_id
              and r.queue_id = q.id
              and r.status = 'waiting'
              and not r.is_held
              and r.queued_at <= $1::timestamptz - make_interval(secs => q.overflow_after_s))
          and (t.max_waiting is null or t.max_waiting > (
            select count(*) from rooms w where w.tenant_id = t.tenant_id and w.queue_id = t.id and w.status = 'waiting'))",
        now,
    )
    .fetch_all(db)
    .await?;
    Ok(tenants.into_iter().map(TenantId).collect())
}

/// Queues to which others overflow and where only so many may wait.
pub async fn list_limited_overflows(tx: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select distinct t.id
        from queues q
        join queues t on t.tenant_id = q.tenant_id and t.id = q.overflow_queue_id
        where q.tenant_id = $1 and t.max_waiting is not null",
        tenant.0,
    )
    .fetch_all(tx)
    .await
}

/// Sends them on, oldest first, while their overflow has room; each with its new queue. They keep their places in time. The caller holds
/// the dispatch lock and those of [`list_limited_overflows`].
pub async fn mark_overflowed(
    tx: &mut PgConnection,
    tenant: TenantId,
    now: Moment,
) -> sqlx::Result<Vec<(RoomId, Uuid)>> {
    let rows = sqlx::query!(
        r#"with due as (
            select r.id, q.overflow_queue_id as target, row_number() over (partition by q.overflow_queue_id order by r.place_at, r.id) as nth
            from queues q
            join rooms r on r.tenant_id = q.tenant_id and r.queue_id = q.id and r.status = 'waiting' and not r.is_held
            where q.tenant_id = $1 and r.queued_at <= $2::timestamptz - make_interval(secs => q.overflow_after_s)
        ), fits as (
            select due.id, due.target
            from due
            join queues t on t.tenant_id = $1 and t.id = due.target
            where t.max_waiting is null or due.nth <= t.max_waiting - (
                select count(*) from rooms w where w.tenant_id = $1 and w.queue_id = t.id and w.status = 'waiting')
        ), locked as (
            select r.id, fits.target
            from fits
            join rooms r on r.tenant_id = $1 and r.id = fits.id and r.status = 'waiting'
            order by r.id
            limit $3
            for update of r
        )
        update rooms r
        set queue_id = locked.target, queued_at = $2, passed_by = '{}', rering_at = null, waiting_told_at = null
        from locked
        where r.tenant_id = $1 and r.id = locked.id
        returning r.id, r.queue_id as "queue_id!""#,
        tenant.0,
        now,
        MOST_AT_ONCE,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|it| (RoomId(it.id), it.queue_id)).collect())
}

/// Waiting rooms to which the queue's text is due: those in the queue since before `grown`, and those told long enough ago.
pub async fn list_untold(db: &PgPool, now: Moment, grown: Moment) -> sqlx::Result<Vec<Due>> {
    let rows = sqlx::query!(
        "select r.tenant_id, r.id
        from queues q
        cross join lateral (
            select r.tenant_id, r.id
            from rooms r
            where r.tenant_id = q.tenant_id
              and r.queue_id = q.id
              and r.status = 'waiting'
              and not r.is_held
              and (r.waiting_told_at is null and r.queued_at <= $2
                or r.waiting_told_at <= $1::timestamptz - make_interval(secs => q.waiting_text_every_s))
            limit $3) as r
        where q.waiting_text <> ''
        limit $3",
        now,
        grown,
        MOST_AT_ONCE,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| Due { tenant: TenantId(it.tenant_id), room: RoomId(it.id) }).collect())
}

/// Notes that a locked room is told now; the text, unless it was told by somebody else or waits no more.
pub async fn mark_told(tx: &mut PgConnection, due: Due, now: Moment) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "update rooms r
        set waiting_told_at = $3
        from queues q
        where r.tenant_id = $1 and r.id = $2 and r.status = 'waiting' and not r.is_held
          and q.tenant_id = r.tenant_id and q.id = r.queue_id and q.waiting_text <> ''
          and (r.waiting_told_at is null
            or r.waiting_told_at <= $3::timestamptz - make_interval(secs => q.waiting_text_every_s))
        returning q.waiting_text",
        due.tenant.0,
        due.room.0,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// What silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The contact has not written since an answer: remind them.
    Remind,
    /// They were reminded in vain: the room ends.
    End,
    /// The agent leaves the contact without an answer: flag the room.
    Flag,
    /// It was flagged in vain: it goes back to the queue.
    TakeBack,
}

/// Active rooms in which somebody has been silent too long; with `only`, whether that still holds for this one. Silence counts from when
/// the agent got the room at the earliest.
pub async fn list_silences(
    db: impl PgExecutor<'_>,
    only: Option<Due>,
    now: Moment,
) -> sqlx::Result<Vec<(Due, Silence)>> {
    let rows = sqlx::query!(
        r#"select r.tenant_id, r.id, due.remind as "remind!", due.ends as "ends!", due.flag as "flag!"
        from queues q
        join rooms r on r.tenant_id = q.tenant_id and r.queue_id = q.id and r.status = 'active'
        cross join lateral (
            select
                coalesce(r.reminded_at is null and r.answered_at is not null
                    and greatest(r.answered_at, r.accepted_at)
                        <= $1::timestamptz - make_interval(mins => q.contact_silent_minutes), false) as remind,
                coalesce(r.reminded_at <= $1::timestamptz - make_interval(mins => q.contact_close_minutes), false) as ends,
                coalesce(r.agent_silent_at is null and r.unanswered_since is not null
                    and greatest(r.unanswered_since, r.accepted_at)
                        <= $1::timestamptz - make_interval(mins => q.agent_silent_minutes), false) as flag,
                coalesce(r.agent_silent_at <= $1::timestamptz - make_interval(mins => q.agent_return_minutes), false) as returns
            ) as due
        where (q.contact_silent_minutes is not null or q.agent_silent_minutes is not null)
          and (due.remind or due.ends or due.flag or due.returns)
          and ($2::uuid is null or r.tenant_id = $2 and r.id = $3)
        limit $4"#,
        now,
        only.map(|it| it.tenant.0),
        only.map(|it| it.room.0),
        MOST_AT_ONCE,
    )
    .fetch_all(db)
    .await?;
    let due = rows.into_iter().map(|it| {
        let silence = match (it.ends, it.remind, it.flag) {
            (true, _, _) => Silence::End,
            (_, true, _) => Silence::Remind,
            (_, _, true) => Silence::Flag,
            _ => Silence::TakeBack,
        };
        (Due { tenant: TenantId(it.tenant_id), room: RoomId(it.id) }, silence)
    });
    Ok(due.collect())
}

/// Notes that the contact of a locked room is reminded now; its queue's text, which may be empty.
pub async fn mark_reminded(tx: &mut PgConnection, due: Due, now: Moment) -> sqlx::Result<String> {
    sqlx::query_scalar!(
        "update rooms r
        set reminded_at = $3
        from queues q
        where r.tenant_id = $1 and r.id = $2 and q.tenant_id = r.tenant_id and q.id = r.queue_id
        returning q.contact_silent_text",
        due.tenant.0,
        due.room.0,
        now,
    )
    .fetch_one(tx)
    .await
}

/// Flags a locked room.
pub async fn mark_agent_silent(tx: &mut PgConnection, due: Due, now: Moment) -> sqlx::Result<()> {
    sqlx::query!(
        "update rooms set agent_silent_at = $3 where tenant_id = $1 and id = $2",
        due.tenant.0,
        due.room.0,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}
