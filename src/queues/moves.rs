//! Whose room it is: accept, decline, transfer, take, close. Each is one transaction that locks the room first.

use chrono::TimeDelta;
use sqlx::PgConnection;

use super::{
    Dispatch, Mover,
    assign::{announce, open},
    is_due,
    presence::back,
    store::{assign::lock_dispatch, moves as store},
};
use crate::{
    channels::Content,
    clock::Moment,
    ids::{QueueId, RoomId, TenantId, UserId},
    rooms::{
        self, CloseReason, Direction, RoomView, Status,
        automatic::{self, Occasion},
        decisions::{self, Decision, NewDecision, Reason, waited_s},
        events::{self, Kind, NewEvent},
        say::{self, Writer},
        store::LockedRoom,
    },
};

/// Why a room does not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The tenant has no such room, or the caller may not see it.
    #[error("no such room")]
    NoSuchRoom,
    /// It is not offered to the caller (any more).
    #[error("the offer is gone")]
    OfferGone,
    /// Somebody else holds it.
    #[error("another agent has the room")]
    NotYours,
    /// It is over.
    #[error("the room is closed")]
    Closed,
    /// The field at this pointer names nothing usable.
    #[error("{1}")]
    Invalid(&'static str, &'static str),
    /// The agent is not ready for an offer.
    #[error("the agent is not ready")]
    NotReady,
    /// The agent has no free seat.
    #[error("the agent has no free seat")]
    Full,
    /// The widget wants a tag first.
    #[error("the widget requires a tag")]
    TagRequired,
    /// The database did not answer.
    #[error("the database did not answer")]
    Db(#[from] sqlx::Error),
}

/// The offer to `me` becomes my active room. Accepting a room that is mine already changes nothing.
///
/// # Errors
/// [`MoveError::OfferGone`] if it lapsed or was never mine.
pub async fn accept(
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    me: UserId,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    let locked = lock(&mut tx, tenant, room).await?;
    if !(locked.status == Status::Active && locked.agent == Some(me)) {
        check_offer(&locked, me, now)?;
        store::mark_active(&mut tx, tenant, room, me, now).await?;
        let noted =
            NewDecision::of(tenant, &locked, Decision::Accepted).agent(me).by(Some(me)).after(waited(&locked, now));
        decisions::note(&mut tx, now, &[noted]).await?;
        announce(&mut tx, tenant, &[room], now).await?;
        open(&mut tx, tenant, room, me, now).await?;
    }
    finish(dispatch, tx, tenant, room, now).await
}

/// The room goes back to its place and rings elsewhere.
///
/// # Errors
/// [`MoveError::OfferGone`] if it lapsed or was never mine.
pub async fn decline(
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    me: UserId,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    let locked = lock(&mut tx, tenant, room).await?;
    check_offer(&locked, me, now)?;
    store::mark_back(&mut tx, tenant, room, me, now, now + dispatch.rering).await?;
    let noted = NewDecision::of(tenant, &locked, Decision::Declined).agent(me).by(Some(me));
    decisions::note(&mut tx, now, &[noted]).await?;
    back(&mut tx, tenant, room, Kind::RoomDeclined, me, now).await?;
    finish(dispatch, tx, tenant, room, now).await
}

/// Where a transfer goes.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// To the end of a queue.
    Queue(QueueId),
    /// To an agent, as an offer that falls back to the queue.
    Agent(UserId),
}

/// Hands a room over.
///
/// # Errors
/// See [`MoveError`].
pub async fn transfer(
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    mover: &Mover,
    target: Target,
    note: Option<&str>,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    lock_dispatch(&mut tx, tenant).await?;
    let mut locked = lock(&mut tx, tenant, room).await?;
    check_held(&locked, mover)?;
    if let Some(note) = note {
        write_note(&mut tx, tenant, &mut locked, mover, note, now).await?;
    }
    let noted = NewDecision::of(tenant, &locked, Decision::Transferred).by(mover.id);
    let noted = match target {
        Target::Queue(queue) => {
            if !store::mark_queued(&mut tx, tenant, room, queue, now).await? {
                return Err(MoveError::Invalid("/queue_id", "is no queue of yours"));
            }
            vec![NewDecision { queue: Some(queue.0), ..noted }]
        }
        Target::Agent(agent) => {
            let found = store::find_target(&mut tx, tenant, agent, now).await?.filter(|it| it.is_agent && it.active);
            let found = found.ok_or(MoveError::Invalid("/agent_id", "is no active agent of yours"))?;
            if locked.agent == Some(agent) {
                return Err(MoveError::Invalid("/agent_id", "has the room already"));
            }
            if !found.is_ready {
                return Err(MoveError::NotReady);
            }
            if found.free_seats < 1 {
                return Err(MoveError::Full);
            }
            let seconds = store::load_offer_timeout(&mut tx, tenant, locked.queue).await?;
            store::mark_offered(&mut tx, tenant, room, agent, now + TimeDelta::seconds(seconds.into()), now).await?;
            let offered = NewDecision::of(tenant, &locked, Decision::Offered).because(Reason::Transfer).agent(agent);
            vec![noted.agent(agent), offered]
        }
    };
    decisions::note(&mut tx, now, &noted).await?;
    let view = rooms::store::find_view(&mut tx, tenant, room, now).await?.ok_or(MoveError::NoSuchRoom)?;
    let mut log = vec![NewEvent::room(tenant, Kind::RoomTransferred, &view).also_to(locked.agent)];
    let next = if view.status == Status::Offered { Kind::RoomOffered } else { Kind::RoomQueued };
    log.push(NewEvent::room(tenant, next, &view));
    events::append(&mut tx, now, &log).await?;
    if let Some(former) = locked.agent {
        store::mark_idle(&mut tx, tenant, former, now).await?;
    }
    finish(dispatch, tx, tenant, room, now).await
}

/// A supervisor takes the room, or gives it to `agent`, whoever holds it. A free seat is needed all the same.
///
/// # Errors
/// See [`MoveError`].
pub async fn take(
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    mover: &Mover,
    agent: UserId,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    lock_dispatch(&mut tx, tenant).await?;
    let locked = lock(&mut tx, tenant, room).await?;
    if locked.status == Status::Closed {
        return Err(MoveError::Closed);
    }
    if !(locked.status == Status::Active && locked.agent == Some(agent)) {
        let found = store::find_target(&mut tx, tenant, agent, now).await?.filter(|it| it.active);
        let found = found.ok_or(MoveError::Invalid("/agent_id", "is no active user of yours"))?;
        // An offer to the same agent holds its seat already.
        if found.free_seats < 1 && locked.agent != Some(agent) {
            return Err(MoveError::Full);
        }
        store::mark_active(&mut tx, tenant, room, agent, now).await?;
        let noted =
            NewDecision::of(tenant, &locked, Decision::Taken).agent(agent).by(mover.id).after(waited(&locked, now));
        decisions::note(&mut tx, now, &[noted]).await?;
        let view = rooms::store::find_view(&mut tx, tenant, room, now).await?.ok_or(MoveError::NoSuchRoom)?;
        let former = locked.agent.filter(|it| *it != agent);
        let transferred = NewEvent::room(tenant, Kind::RoomTransferred, &view).also_to(former);
        events::append(&mut tx, now, &[transferred, NewEvent::room(tenant, Kind::RoomAccepted, &view)]).await?;
        open(&mut tx, tenant, room, agent, now).await?;
    }
    finish(dispatch, tx, tenant, room, now).await
}

/// Ends a room: the closing text goes out, the seat is free.
///
/// # Errors
/// See [`MoveError`].
pub async fn close(
    dispatch: &Dispatch,
    tenant: TenantId,
    room: RoomId,
    mover: &Mover,
    tags: Option<&[String]>,
    note: Option<&str>,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    let mut locked = lock(&mut tx, tenant, room).await?;
    check_held(&locked, mover)?;
    if let Some(tags) = tags {
        rooms::store::mark_tags(&mut tx, tenant, room, tags).await?;
        locked.tags = tags.to_vec();
    }
    if locked.tags_required && locked.tags.is_empty() {
        return Err(MoveError::TagRequired);
    }
    if let Some(note) = note {
        write_note(&mut tx, tenant, &mut locked, mover, note, now).await?;
    }
    automatic::say(&mut tx, tenant, &mut locked, Occasion::Closing { agent: &mover.name }, now).await?;
    let (reason, holder) = match locked.agent {
        Some(holder) if locked.status == Status::Active && mover.holds(Some(holder)) => {
            (CloseReason::Agent, Some(holder))
        }
        holder => (CloseReason::Supervisor, holder.filter(|_| locked.status == Status::Active)),
    };
    store::mark_closed(&mut tx, tenant, room, reason, holder, now).await?;
    store::mark_wrap_up(&mut tx, tenant, room, now).await?;
    let noted = NewDecision::of(tenant, &locked, Decision::Closed).because(reason.into()).by(mover.id);
    let noted = NewDecision { agent: locked.agent, ..noted.after(waited(&locked, now)) };
    decisions::note(&mut tx, now, &[noted]).await?;
    let view = rooms::store::find_view(&mut tx, tenant, room, now).await?.ok_or(MoveError::NoSuchRoom)?;
    events::append(&mut tx, now, &[NewEvent::room(tenant, Kind::RoomClosed, &view).also_to(locked.agent)]).await?;
    if let Some(holder) = locked.agent {
        store::mark_idle(&mut tx, tenant, holder, now).await?;
    }
    finish(dispatch, tx, tenant, room, now).await
}

/// How long the room waited, if this answers or loses it.
fn waited(room: &LockedRoom, now: Moment) -> Option<i32> {
    waited_s(room.queued_at, room.accepted_at, now)
}

async fn lock(tx: &mut PgConnection, tenant: TenantId, room: RoomId) -> Result<LockedRoom, MoveError> {
    rooms::store::lock(tx, tenant, room).await?.ok_or(MoveError::NoSuchRoom)
}

fn check_offer(room: &LockedRoom, me: UserId, now: Moment) -> Result<(), MoveError> {
    let is_mine = room.status == Status::Offered && room.agent == Some(me);
    if is_mine && !is_due(room.offer_expires_at, now) { Ok(()) } else { Err(MoveError::OfferGone) }
}

/// The holder may move a room, and so may whoever sees all.
fn check_held(room: &LockedRoom, mover: &Mover) -> Result<(), MoveError> {
    let holds = room.status == Status::Active && mover.holds(room.agent);
    match room.status {
        // Whose room it was may know that it is over.
        Status::Closed if mover.sees_all || mover.holds(room.agent) => Err(MoveError::Closed),
        _ if mover.sees_all || holds => Ok(()),
        _ => Err(MoveError::NotYours),
    }
}

async fn write_note(
    tx: &mut PgConnection,
    tenant: TenantId,
    room: &mut LockedRoom,
    mover: &Mover,
    note: &str,
    now: Moment,
) -> sqlx::Result<()> {
    let writer = match mover.id {
        Some(id) => Writer::agent(id, &mover.name),
        None => Writer::bot(uuid::Uuid::nil(), &mover.name),
    };
    let content = Content::Text { text: note.to_owned() };
    say::write(tx, tenant, room, &writer, Direction::Note, &content, now).await?;
    Ok(())
}

async fn finish(
    dispatch: &Dispatch,
    mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
    tenant: TenantId,
    room: RoomId,
    now: Moment,
) -> Result<RoomView, MoveError> {
    let view = rooms::store::find_view(&mut tx, tenant, room, now).await?.ok_or(MoveError::NoSuchRoom)?;
    tx.commit().await?;
    dispatch.ring(tenant);
    Ok(view)
}
