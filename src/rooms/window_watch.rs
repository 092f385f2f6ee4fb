//! Tells an hour before that a room's messaging window closes, once for each end: with `room.updated`.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;

use super::{
    events::{self, Kind, NewEvent},
    store,
};
use crate::{
    channels::messenger::window::{Opened, policy},
    clock::{Clock, Moment},
    crew::{Step, Worker},
    db::bell::{Bell, Topic},
    ids::TenantId,
};

/// How long before its end people are told.
const NOTICE: TimeDelta = TimeDelta::hours(1);
/// Rooms looked at in one step.
const MOST_AT_ONCE: i64 = 500;

/// The worker that watches windows.
pub struct WindowWatch {
    /// The database.
    pub db: PgPool,
    /// Wakes readers.
    pub bell: Bell,
    /// The time.
    pub clock: Clock,
}

impl Worker for WindowWatch {
    const NAME: &'static str = "windows";
    const POLL: Duration = Duration::from_secs(15);

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let mut tx = crate::db::begin(&self.db).await?;
        let rooms = store::lock_window_looks(&mut tx, now, MOST_AT_ONCE).await?;
        if rooms.is_empty() {
            return Ok(Step::Idle);
        }
        let looks: Vec<_> = rooms.iter().map(|it| look(it.opened, it.human_agent, now)).collect();
        let at: Vec<_> = looks.iter().map(|it| it.again_at).collect();
        store::mark_window_looked(&mut tx, &rooms, &at).await?;
        let (tenants, ids): (Vec<_>, Vec<_>) = rooms
            .iter()
            .zip(&looks)
            .filter(|(_, look)| look.is_closing)
            .map(|(it, _)| (it.tenant.0, it.room.0))
            .unzip();
        let views = store::list_views(&mut tx, &tenants, &ids, now).await?;
        let told: Vec<_> =
            views.iter().map(|(tenant, view)| NewEvent::room(*tenant, Kind::RoomUpdated, view)).collect();
        events::append(&mut tx, now, &told).await?;
        tx.commit().await?;
        let mut tenants: Vec<TenantId> = told.iter().map(|it| it.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants.into_iter().for_each(|tenant| self.bell.ring(Topic::Events(tenant)));
        Ok(Step::Worked)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Look {
    /// An end is less than an hour away.
    is_closing: bool,
    again_at: Moment,
}

/// What to say now, and when to look again: at the next notice, or when a message of the contact's from now on could call for one.
/// Both are later than the end that is told now, so nothing is told twice.
fn look(opened: Opened, human_agent: bool, now: Moment) -> Look {
    let human = opened.human_agent_until().filter(|_| human_agent);
    let ends: Vec<_> = [opened.standard_until(), human].into_iter().flatten().collect();
    let is_closing = ends.iter().any(|end| *end - NOTICE <= now && now < *end);
    let soonest = now + policy(now).standard - NOTICE;
    let next = ends.iter().map(|end| *end - NOTICE).filter(|notice| *notice > now).min();
    Look { is_closing, again_at: next.map_or(soonest, |next| next.min(soonest)) }
}

/// When to look at a new room for the first time, opened by what its contact wrote at `wrote_at`.
pub(super) fn first_look(wrote_at: Moment, now: Moment) -> Moment {
    let look = look(Opened { last_inbound_at: Some(wrote_at), ad_message_at: None }, true, now);
    if look.is_closing { now } else { look.again_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minutes: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    #[track_caller]
    fn check(human_agent: bool, at: i64, is_closing: bool, again_at: i64) {
        let opened = Opened { last_inbound_at: Some(minute(0)), ad_message_at: None };
        assert_eq!(look(opened, human_agent, minute(at)), Look { is_closing, again_at: minute(again_at) });
    }

    #[test]
    fn an_end_is_told_an_hour_before_and_once() {
        const DAY: i64 = 24 * 60;
        check(false, 0, false, DAY - 60);
        check(false, DAY - 60, true, 2 * DAY - 120);
        check(false, DAY - 1, true, 2 * DAY - 61);
        check(false, DAY, false, 2 * DAY - 60);
        check(true, DAY - 60, true, 2 * DAY - 120);
        check(true, 6 * DAY, false, 7 * DAY - 60);
        check(true, 7 * DAY - 60, true, 8 * DAY - 120);
        assert_eq!(first_look(minute(0), minute(1)), minute(DAY - 60));
        assert_eq!(first_look(minute(0), minute(DAY - 1)), minute(DAY - 1), "at once");
        let silent = look(Opened::default(), true, minute(0));
        assert_eq!(silent, Look { is_closing: false, again_at: minute(DAY - 60) });
    }
}
