//! Shows contacts that somebody types, for as long as somebody does. Messenger's dots go after 20 s by themselves, so they are shown
//! again before; a caller who says nothing more within a minute has gone. Kept in memory: dots that a restart forgets hurt nobody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use tokio::sync::watch;

use super::{Outgoing, calls::UnderWay, profiles};
use crate::{
    channels::messenger::send::SenderAction,
    clock::Moment,
    crew::{Crew, Step, Worker},
    ids::{RoomId, TenantId},
};

/// Dots are shown again after this time; Messenger's last about 20 s.
const AGAIN: TimeDelta = TimeDelta::seconds(15);
/// How long one word from the caller counts.
const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// Where somebody types. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Typing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rooms: Mutex<HashMap<(TenantId, RoomId), Dots>>,
    changed: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug)]
enum Dots {
    /// Shown, and again at that time, as long as somebody says so.
    On { again_at: Moment, until: Moment },
    /// To be taken back.
    Off,
}

impl Default for Typing {
    fn default() -> Self {
        Self(Arc::new(Inner { rooms: Mutex::default(), changed: watch::channel(()).0 }))
    }
}

impl Typing {
    /// Somebody types. The contact may see the dots of a moment ago still: then they are not shown twice.
    pub fn begin(&self, tenant: TenantId, room: RoomId, now: Moment) {
        let mut rooms = self.lock();
        let again_at = match rooms.get(&(tenant, room)) {
            Some(Dots::On { again_at, .. }) => *again_at,
            _ => now,
        };
        rooms.insert((tenant, room), Dots::On { again_at, until: now + PATIENCE });
        self.0.changed.send_replace(());
    }

    /// Somebody has stopped, and the contact shall see that.
    pub fn end(&self, tenant: TenantId, room: RoomId) {
        self.lock().insert((tenant, room), Dots::Off);
        self.0.changed.send_replace(());
    }

    /// Somebody has written: that takes the dots away by itself.
    pub fn written(&self, tenant: TenantId, room: RoomId) {
        self.lock().remove(&(tenant, room));
    }

    /// Rings when there is something to show.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// What is to be shown now, but for rooms of which something is on its way still: it shall not be overtaken.
    fn take_due(&self, now: Moment, under_way: &[RoomId]) -> Vec<(TenantId, RoomId, SenderAction)> {
        let (mut rooms, mut due) = (self.lock(), Vec::new());
        rooms.retain(|(tenant, room), dots| match dots {
            _ if under_way.contains(room) => true,
            Dots::Off => {
                due.push((*tenant, *room, SenderAction::TypingOff));
                false
            }
            Dots::On { until, .. } if *until <= now => false,
            Dots::On { again_at, .. } => {
                if *again_at <= now {
                    *again_at = now + AGAIN;
                    due.push((*tenant, *room, SenderAction::TypingOn));
                }
                true
            }
        });
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, RoomId), Dots>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker that shows dots again.
pub struct Typist {
    outgoing: Outgoing,
    typing: Typing,
    under_way: UnderWay<RoomId>,
}

impl Typist {
    /// Shows dots in the background, so that no Page waits for another; `crew` waits for that at its end.
    #[must_use]
    pub fn new(outgoing: Outgoing, typing: Typing, crew: Crew) -> Self {
        let under_way = UnderWay::new(crew, typing.0.changed.clone());
        Self { outgoing, typing, under_way }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.count() == 0
    }
}

impl Worker for Typist {
    const NAME: &'static str = "typing";

    async fn step(&self) -> anyhow::Result<Step> {
        let due = self.typing.take_due(self.outgoing.clock.now(), &self.under_way.with(1));
        for (tenant, room, action) in due.iter().copied() {
            let outgoing = self.outgoing.clone();
            self.under_way.spawn(room, async move { profiles::act(&outgoing, tenant, room, action).await });
        }
        Ok(if due.is_empty() { Step::Idle } else { Step::Worked })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn dots_are_shown_again_until_nobody_types() {
        let (typing, tenant, room) = (Typing::default(), TenantId(Uuid::from_u128(1)), RoomId(Uuid::from_u128(2)));
        let at = |seconds| Moment::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let on = [(tenant, room, SenderAction::TypingOn)];
        typing.begin(tenant, room, at(0));
        assert_eq!(typing.take_due(at(0), &[]), on);
        typing.begin(tenant, room, at(5));
        assert_eq!(typing.take_due(at(14), &[]), [], "they see it still");
        assert_eq!(typing.take_due(at(15), &[]), on);
        assert_eq!(typing.take_due(at(29), &[]), []);
        assert_eq!(typing.take_due(at(60), &[]), on);
        assert_eq!(typing.take_due(at(75), &[]), [], "a minute after the last word");
        typing.begin(tenant, room, at(76));
        assert_eq!(typing.take_due(at(76), &[]), on);
        typing.written(tenant, room);
        assert_eq!(typing.take_due(at(100), &[]), []);
        typing.begin(tenant, room, at(100));
        typing.end(tenant, room);
        assert_eq!(typing.take_due(at(100), &[room]), [], "the dots are on their way");
        assert_eq!(typing.take_due(at(100), &[]), [(tenant, room, SenderAction::TypingOff)]);
        assert_eq!(typing.take_due(at(200), &[]), []);
    }
}
