//! What the clock makes due: wrap-ups that end, rooms that overflow, texts while waiting, silence of contacts and agents. Nothing sleeps:
//! a step looks for what is due at its moment, locks it, looks again, and acts; so any number of processes may do it at once.

use chrono::TimeDelta;
use sqlx::PgConnection;

use super::{
    Dispatch,
    assign::announce,
    presence::give_back,
    store::{
        assign::{lock_dispatch, lock_lines},
        moves::{mark_closed, mark_idle, mark_wrap_up},
        timers::{self as store, Due, Silence},
    },
};
use crate::{
    clock::{Clock, Moment},
    crew::{Step, Worker},
    db::bell::Topic,
    ids::TenantId,
    rooms::{
        self, CloseReason,
        automatic::{self, Occasion},
        decisions::{self, Decision, NewDecision, Reason},
        events::{self, Kind, NewEvent},
        store::LockedRoom,
    },
};

/// A room is told its position only if it still waits after so many seconds: whoever is served at once needs no number.
const FIRST_TEXT_AFTER_S: i64 = 2;

/// The worker that looks for what is due.
pub struct Timers {
    /// What it works with.
    pub dispatch: Dispatch,
    /// The time.
    pub clock: Clock,
}

impl Worker for Timers {
    const NAME: &'static str = "timers";

    async fn step(&self) -> anyhow::Result<Step> {
        let (dispatch, now) = (&self.dispatch, self.clock.now());
        let mut acted = false;
        for tenant in store::end_wrap_ups(&dispatch.db, now).await? {
            dispatch.bell.ring(Topic::Queues(tenant));
            acted = true;
        }
        for tenant in store::list_overflowing(&dispatch.db, now).await? {
            acted |= overflow(dispatch, tenant, now).await?;
        }
        for due in store::list_untold(&dispatch.db, now, now - TimeDelta::seconds(FIRST_TEXT_AFTER_S)).await? {
            acted |= tell_position(dispatch, due, now).await?;
        }
        for (due, _) in store::list_silences(&dispatch.db, None, now).await? {
            acted |= break_silence(dispatch, due, now).await?;
        }
        Ok(if acted { Step::Worked } else { Step::Idle })
    }
}

/// Rooms that have waited as long as their queue allows go on to the next, as far as there is room.
async fn overflow(dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<bool> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    lock_dispatch(&mut tx, tenant).await?;
    let limited = store::list_limited_overflows(&mut tx, tenant).await?;
    lock_lines(&mut tx, &limited).await?;
    let moved = store::mark_overflowed(&mut tx, tenant, now).await?;
    let log: Vec<_> = moved
        .iter()
        .map(|it| NewDecision::new(tenant, it.0, Some(it.1), Decision::Overflowed).because(Reason::Waited))
        .collect();
    decisions::note(&mut tx, now, &log).await?;
    announce(&mut tx, tenant, &moved.iter().map(|it| it.0).collect::<Vec<_>>(), now).await?;
    tx.commit().await?;
    dispatch.ring(tenant);
    Ok(!moved.is_empty())
}

async fn tell_position(dispatch: &Dispatch, due: Due, now: Moment) -> sqlx::Result<bool> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    let Some(mut room) = rooms::store::lock(&mut tx, due.tenant, due.room).await? else { return Ok(false) };
    let Some(text) = store::mark_told(&mut tx, due, now).await? else { return Ok(false) };
    let view = rooms::store::find_view(&mut tx, due.tenant, due.room, now).await?;
    let position = view.and_then(|it| it.position).unwrap_or(1);
    automatic::say(&mut tx, due.tenant, &mut room, Occasion::Waiting { text: &text, position }, now).await?;
    tx.commit().await?;
    dispatch.ring(due.tenant);
    Ok(true)
}

/// Does what silence calls for in a room, if it still does once the room is locked.
async fn break_silence(dispatch: &Dispatch, due: Due, now: Moment) -> sqlx::Result<bool> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    // A room that goes back to its queue changes who has seats.
    lock_dispatch(&mut tx, due.tenant).await?;
    let Some(mut room) = rooms::store::lock(&mut tx, due.tenant, due.room).await? else { return Ok(false) };
    let Some((_, silence)) = store::list_silences(&mut *tx, Some(due), now).await?.pop() else { return Ok(false) };
    match silence {
        Silence::Remind => {
            let text = store::mark_reminded(&mut tx, due, now).await?;
            automatic::say(&mut tx, due.tenant, &mut room, Occasion::Silent { text: &text }, now).await?;
        }
        Silence::End => end(&mut tx, due.tenant, &room, now).await?,
        Silence::Flag => flag(&mut tx, due, &room, now).await?,
        Silence::TakeBack => {
            let Some(holder) = room.agent else { return Ok(false) };
            give_back(&mut tx, dispatch, due.tenant, due.room, holder, Reason::AgentSilent, now).await?;
            mark_idle(&mut tx, due.tenant, holder, now).await?;
        }
    }
    tx.commit().await?;
    dispatch.ring(due.tenant);
    Ok(true)
}

async fn end(tx: &mut PgConnection, tenant: TenantId, room: &LockedRoom, now: Moment) -> sqlx::Result<()> {
    mark_closed(tx, tenant, room.id, CloseReason::Inactive, room.agent, now).await?;
    mark_wrap_up(tx, tenant, room.id, now).await?;
    let noted = NewDecision::of(tenant, room, Decision::Closed).because(Reason::Inactive);
    decisions::note(tx, now, &[NewDecision { agent: room.agent, ..noted }]).await?;
    if let Some(view) = rooms::store::find_view(tx, tenant, room.id, now).await? {
        let closed = NewEvent::room(tenant, Kind::RoomClosed, &view).also_to(room.agent);
        events::append(tx, now, &[closed]).await?;
    }
    match room.agent {
        Some(holder) => mark_idle(tx, tenant, holder, now).await,
        None => Ok(()),
    }
}

async fn flag(tx: &mut PgConnection, due: Due, room: &LockedRoom, now: Moment) -> sqlx::Result<()> {
    store::mark_agent_silent(tx, due, now).await?;
    let noted = NewDecision::of(due.tenant, room, Decision::Flagged).because(Reason::AgentSilent);
    decisions::note(tx, now, &[NewDecision { agent: room.agent, ..noted }]).await?;
    if let Some(view) = rooms::store::find_view(tx, due.tenant, room.id, now).await? {
        events::append(tx, now, &[NewEvent::room(due.tenant, Kind::RoomUpdated, &view)]).await?;
    }
    Ok(())
}
