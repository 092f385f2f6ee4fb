//! Takes a contact's thread back from the app that answers it.

use super::{
    Outgoing,
    calls::{Call, NotNow},
    store,
};
use crate::{
    db::bell::Topic,
    ids::{RoomId, TenantId},
    rooms::told::{self, About},
    widgets::WidgetError,
};

/// Asks Meta for the thread of a room's contact. It gives it to apps that may take control only, and where the Page routes its
/// conversations.
///
/// # Errors
/// [`WidgetError::NoToken`], [`WidgetError::GraphAway`], [`WidgetError::GraphRefused`]; nothing has changed then.
pub async fn take_back(outgoing: &Outgoing, tenant: TenantId, room: RoomId) -> Result<(), WidgetError> {
    let (sender, page) = store::find_page(&outgoing.db, tenant, room).await?.ok_or(WidgetError::NoToken)?;
    let call = Call::begin(outgoing, tenant, &page).map_err(|why| match why {
        NotNow::Later(_) => WidgetError::GraphAway,
        NotNow::Seal(error) => error.into(),
    })?;
    let answered = outgoing.graph.take_thread(call.access(), &page.page_id, &sender).await;
    call.end(answered).await?;
    let now = outgoing.clock.now();
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let about = About { tenant, widget: page.widget, sender: &sender, at: now };
    told::hand_over(&mut tx, about, None, now).await?;
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(tenant));
    Ok(())
}
