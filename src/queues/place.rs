//! Where a new room goes: pure, from the widget's route and the hours.

use crate::{
    clock::Moment,
    hours::Hours,
    ids::QueueId,
    rooms::{Closed, Place},
};

/// What is set for a widget.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where its rooms go.
    pub queue: QueueId,
    /// When; always if there are none.
    pub hours: Option<Hours>,
    /// Said while closed; may be empty.
    pub offline_message: String,
    /// Whether rooms wait for the opening rather than being closed.
    pub holds: bool,
}

/// The place of a new room at `now`.
#[must_use]
pub fn place(route: Option<&Route>, now: Moment) -> Place {
    let Some(route) = route else { return Place::NoRoute };
    let Some(hours) = &route.hours else { return Place::Queue { queue: route.queue, held: None } };
    let status = hours.status(now);
    if status.open {
        return Place::Queue { queue: route.queue, held: None };
    }
    let next_open = status.next_open.map(|at| hours.local(at)).unwrap_or_default();
    let since = status.since.unwrap_or(Moment::UNIX_EPOCH);
    let closed = Closed { message: route.offline_message.clone(), since, next_open };
    if route.holds { Place::Queue { queue: route.queue, held: Some(closed) } } else { Place::Offline(closed) }
}
