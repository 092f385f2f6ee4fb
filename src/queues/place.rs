//! Where a new room goes: decided from the widget's route and the hours, which are read here.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::store::assign as store;
use crate::{
    clock::Moment,
    hours::{Hours, Schedule},
    ids::{QueueId, TenantId, WidgetId},
    rooms::{Closed, Place, limits::Limit},
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
    /// How many more rooms may wait, where that is limited.
    pub limit: Option<Limit>,
    /// Whether the widget has a text for who comes into the queue.
    pub greets: bool,
}

/// The place of a new room at `now`.
fn place(route: Option<&Route>, now: Moment) -> Place {
    let Some(route) = route else { return Place::NoRoute };
    let queue = |held| Place::Queue { queue: route.queue, held, limit: route.limit.clone(), greets: route.greets };
    match closed(route, now) {
        None => queue(None),
        Some(closed) if route.holds => queue(Some(closed)),
        Some(closed) => Place::Offline(closed),
    }
}

/// The closed period at `now`, if it is one.
#[must_use]
pub fn closed(route: &Route, now: Moment) -> Option<Closed> {
    let hours = route.hours.as_ref()?;
    let status = hours.status(now);
    if status.open {
        return None;
    }
    let next_open = status.next_open.map(|at| hours.local(at, now));
    Some(Closed {
        message: route.offline_message.clone(),
        since: status.since.unwrap_or(Moment::UNIX_EPOCH),
        next_open,
    })
}

/// The routes of widgets.
///
/// # Errors
/// The database's.
pub async fn load_routes(
    tx: &mut PgConnection,
    widgets: &[(TenantId, WidgetId)],
) -> sqlx::Result<HashMap<WidgetId, Route>> {
    let tenants: Vec<_> = widgets.iter().map(|it| it.0.0).collect();
    let ids: Vec<_> = widgets.iter().map(|it| it.1.0).collect();
    let stored = store::list_routes(tx, &tenants, &ids).await?;
    let routes = stored.into_iter().map(|it| {
        // Schedules are checked when they are stored; one that cannot be read any more counts as always open, so that nobody is turned away.
        let hours =
            it.schedule.and_then(|it| serde_json::from_value::<Schedule>(it).ok()).and_then(|it| it.parse().ok());
        let holds = it.after_hours == "hold";
        let route = Route {
            queue: QueueId(it.queue),
            hours,
            offline_message: it.offline_message,
            holds,
            greets: it.greets,
            limit: it.max_waiting.map(|most| Limit {
                left: most.into(),
                overflow: it.overflow.map(|id| (QueueId(id), it.overflow_max_waiting.map(i64::from))),
                text: it.max_waiting_text,
            }),
        };
        (it.widget, route)
    });
    Ok(routes.collect())
}

/// The places of new rooms of these widgets at `now`. Where only so many may wait, nobody else can join before this transaction ends,
/// and `limit` says how many are left: what the transaction put there before counts.
///
/// # Errors
/// The database's.
pub async fn load_places(
    tx: &mut PgConnection,
    widgets: BTreeSet<(TenantId, WidgetId)>,
    now: Moment,
) -> sqlx::Result<HashMap<WidgetId, Place>> {
    if widgets.is_empty() {
        return Ok(HashMap::new());
    }
    let widgets: Vec<_> = widgets.into_iter().collect();
    let mut routes = load_routes(tx, &widgets).await?;
    let limited: BTreeSet<_> = widgets
        .iter()
        .filter_map(|(tenant, widget)| Some((tenant, routes.get(widget)?)))
        .flat_map(|(tenant, route)| {
            let overflow = route.limit.as_ref().map(|it| it.overflow.filter(|it| it.1.is_some()).map(|it| it.0));
            overflow.map(|it| [Some(route.queue), it]).into_iter().flatten().flatten().map(|queue| (tenant.0, queue.0))
        })
        .collect();
    let places =
        |routes: &HashMap<WidgetId, Route>| widgets.iter().map(|it| (it.1, place(routes.get(&it.1), now))).collect();
    if limited.is_empty() {
        return Ok(places(&routes));
    }
    let limited: Vec<_> = limited.into_iter().collect();
    store::lock_lines(tx, &limited.iter().map(|it| it.1).collect::<Vec<_>>()).await?;
    let waiting = store::count_waiting(tx, &limited).await?;
    let waiting = |queue: QueueId| waiting.get(&queue.0).copied().unwrap_or(0);
    for route in routes.values_mut() {
        if let Some(limit) = &mut route.limit {
            limit.left -= waiting(route.queue);
            limit.overflow = limit.overflow.map(|(queue, most)| (queue, most.map(|most| most - waiting(queue))));
        }
    }
    Ok(places(&routes))
}
