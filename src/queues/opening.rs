//! Hours and rooms that wait: held until the opening, let in when it comes, and held again if an admin closes while they wait.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{
    place::{Route, closed},
    store::assign as store,
};
use crate::{
    clock::Moment,
    ids::{RoomId, TenantId, WidgetId},
    rooms::{
        self,
        automatic::{self, Occasion},
        decisions::{self, Decision, NewDecision, Reason},
        events::{self, Kind, NewEvent},
    },
};

/// Rooms that were held for the opening may be offered once the hours are found open. Whether there were any; the caller rings.
pub(super) async fn release(tx: &mut PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<bool> {
    let widgets = store::list_held_widgets(tx, tenant).await?;
    let routes = routes_of(tx, tenant, &widgets).await?;
    let mut rooms = Vec::new();
    for widget in widgets {
        let hours = routes.get(&widget).and_then(|it| it.hours.as_ref());
        if hours.is_none_or(|it| it.status(now).open) {
            let released = store::mark_released(tx, tenant, widget, now).await?;
            rooms.extend(released.iter().map(|it| it.0));
            let decision = |(room, queue)| NewDecision::new(tenant, room, queue, Decision::Released);
            decisions::note(tx, now, &released.into_iter().map(decision).collect::<Vec<_>>()).await?;
        }
    }
    announce(tx, tenant, &rooms, Kind::RoomQueued, now).await?;
    Ok(!rooms.is_empty())
}

/// An admin has changed hours, or which of them count: what is open now is let in, and rooms that would be held had they come now are
/// held, and told so. (Who came in time and waits when the day ends is still served: that is no change.) In the transaction of the
/// change, so that one is not without the other; the caller commits and rings.
///
/// # Errors
/// The database's.
pub async fn hours_changed(tx: &mut PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<()> {
    store::lock_dispatch(tx, tenant).await?;
    let widgets = store::list_waiting_widgets(tx, tenant).await?;
    let routes = routes_of(tx, tenant, &widgets).await?;
    for (widget, route) in routes.iter().filter(|it| it.1.holds) {
        let Some(closed) = closed(route, now) else { continue };
        let held = store::mark_held(tx, tenant, *widget).await?;
        let decision = |(room, queue): &(RoomId, _)| {
            NewDecision::new(tenant, *room, *queue, Decision::Held).because(Reason::Offline)
        };
        decisions::note(tx, now, &held.iter().map(decision).collect::<Vec<_>>()).await?;
        announce(tx, tenant, &held.iter().map(|it| it.0).collect::<Vec<_>>(), Kind::RoomUpdated, now).await?;
        for (room, _) in held {
            let Some(mut locked) = rooms::store::lock(tx, tenant, room).await? else { continue };
            automatic::say(tx, tenant, &mut locked, Occasion::Offline(&closed), now).await?;
        }
    }
    Ok(())
}

/// Tells the log of rooms that are held, or wait from now on: whoever shows a queue sees it at once.
async fn announce(
    tx: &mut PgConnection,
    tenant: TenantId,
    rooms: &[RoomId],
    kind: Kind,
    now: Moment,
) -> sqlx::Result<()> {
    if rooms.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = rooms.iter().map(|it| it.0).collect();
    let views = rooms::store::list_views(tx, &vec![tenant.0; ids.len()], &ids, now).await?;
    let log: Vec<_> = views.iter().map(|(tenant, view)| NewEvent::room(*tenant, kind, view)).collect();
    events::append(tx, now, &log).await
}

async fn routes_of(
    tx: &mut PgConnection,
    tenant: TenantId,
    widgets: &[WidgetId],
) -> sqlx::Result<HashMap<WidgetId, Route>> {
    if widgets.is_empty() {
        return Ok(HashMap::new());
    }
    let pairs: Vec<_> = widgets.iter().map(|widget| (tenant, *widget)).collect();
    super::place::load_routes(tx, &pairs).await
}
