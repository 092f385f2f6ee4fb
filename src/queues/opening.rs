//! Hours and rooms that wait: held until the opening, let in when it comes, and held again if an admin closes while they wait.

use std::collections::HashMap;

use super::{
    Dispatch,
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
pub(super) async fn release(tx: &mut sqlx::PgConnection, tenant: TenantId, now: Moment) -> sqlx::Result<()> {
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
/// held, and told so. (Who came in time and waits when the day ends is still served: that is no change.)
///
/// # Errors
/// The database's.
pub async fn hours_changed(dispatch: &Dispatch, tenant: TenantId, now: Moment) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(&dispatch.db).await?;
    store::lock_dispatch(&mut tx, tenant).await?;
    let widgets = store::list_waiting_widgets(&mut tx, tenant).await?;
    let routes = routes_of(&mut tx, tenant, &widgets).await?;
    for (widget, route) in routes.iter().filter(|it| it.1.holds) {
        let Some(closed) = closed(route, now) else { continue };
        let held = store::mark_held(&mut tx, tenant, *widget).await?;
        let decision = |(room, queue): &(RoomId, _)| {
            NewDecision::new(tenant, *room, *queue, Decision::Held).because(Reason::Offline)
        };
        decisions::note(&mut tx, now, &held.iter().map(decision).collect::<Vec<_>>()).await?;
        for (room, _) in held {
            let Some(mut locked) = rooms::store::lock(&mut tx, tenant, room).await? else { continue };
            automatic::say(&mut tx, tenant, &mut locked, Occasion::Offline(&closed), now).await?;
        }
    }
    tx.commit().await?;
    dispatch.ring(tenant);
    Ok(())
}

async fn routes_of(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    widgets: &[WidgetId],
) -> sqlx::Result<HashMap<WidgetId, Route>> {
    if widgets.is_empty() {
        return Ok(HashMap::new());
    }
    let pairs: Vec<_> = widgets.iter().map(|widget| (tenant, *widget)).collect();
    super::place::load_routes(tx, &pairs).await
}
