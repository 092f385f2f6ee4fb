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
    },
};

/// Rooms that were held for the opening may be offered once the hours are found open.
pub(super) async fn release(tx: &mut PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<()> {
    let widgets = store::list_held_widgets(tx, tenant).await?;
    let routes = routes_of(tx, tenant, &widgets).await?;
    for widget in widgets {
        let hours = routes.get(&widget).and_then(|it| it.hours.as_ref());
        if hours.is_none_or(|it| it.status(now).open) {
            let released = store::mark_released(tx, tenant, widget, now).await?;
            let decision = |(room, queue)| NewDecision::new(tenant, room, queue, Decision::Released);
            decisions::note(tx, now, &released.into_iter().map(decision).collect::<Vec<_>>()).await?;
        }
    }
    Ok(())
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
        for (room, _) in held {
            let Some(mut locked) = rooms::store::lock(tx, tenant, room).await? else { continue };
            automatic::say(tx, tenant, &mut locked, Occasion::Offline(&closed), now).await?;
        }
    }
    Ok(())
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
