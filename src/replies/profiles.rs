//! Names and pictures of contacts, asked for once and never waited for; and signs of life to them. Neither may fail a message.

use tracing::debug;

use super::{Outgoing, store};
use crate::{
    channels::{
        messenger::send::{self, SenderAction},
        meta::graph::Access,
    },
    check,
    crew::{Step, Worker},
    db::bell::Topic,
    ids::{RoomId, TenantId},
    rooms::{
        self,
        events::{self, Kind, NewEvent},
    },
};

/// Profiles asked for in one step.
const MOST_AT_ONCE: i64 = 8;

/// The worker that asks for profiles.
pub struct Profiles {
    /// What it works with.
    pub outgoing: Outgoing,
}

impl Worker for Profiles {
    const NAME: &'static str = "profiles";

    async fn step(&self) -> anyhow::Result<Step> {
        let claimed = store::claim_nameless(&self.outgoing.db, self.outgoing.clock.now(), MOST_AT_ONCE).await?;
        if claimed.is_empty() {
            return Ok(Step::Idle);
        }
        let asked = claimed.iter().map(|it| ask(&self.outgoing, it));
        for (it, result) in claimed.iter().zip(futures::future::join_all(asked).await) {
            if let Err(error) = result {
                debug!(contact.id = %it.contact, error = %format!("{error:#}"), "no profile for contact {}", it.contact);
            }
        }
        Ok(Step::Worked)
    }
}

async fn ask(outgoing: &Outgoing, it: &store::Nameless) -> anyhow::Result<()> {
    let keys = outgoing.open(it.tenant, &it.page)?;
    let access = Access { token: &keys.token, app_secret: &keys.app_secret };
    let profile =
        outgoing.graph.profile(access, &it.sender_id).await.map_err(|verdict| anyhow::anyhow!("{verdict:?}"))?;
    let Some(profile) = profile else { return Ok(()) };
    let now = outgoing.clock.now();
    let name = profile
        .name
        .or_else(|| Some([profile.first_name.as_deref()?, profile.last_name.as_deref().unwrap_or("")].join(" ")));
    let name = name.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let told = store::Told {
        name: name.as_deref(),
        first_name: profile.first_name.as_deref(),
        picture_url: profile.picture_url.as_deref(),
        locale: profile.locale.as_deref().filter(|it| check::locale(it).is_some()),
    };
    let room = store::mark_profile(&mut tx, it.tenant, it.contact, &told, now).await?;
    if let Some(room) = room
        && let Some(view) = rooms::store::find_view(&mut tx, it.tenant, room, now).await?
    {
        let mut event = NewEvent::room(it.tenant, Kind::ContactUpdated, &view);
        event.data = events::written(&view.contact);
        events::append(&mut tx, now, &[event]).await?;
    }
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(it.tenant));
    Ok(())
}

/// Shows the contact that somebody types or has seen what they wrote. Failures are for the log only.
pub async fn act(outgoing: &Outgoing, tenant: TenantId, room: RoomId, action: SenderAction) {
    let tried = async {
        let Some((sender, page)) = store::find_page(&outgoing.db, tenant, room).await? else { return Ok(()) };
        let keys = outgoing.open(tenant, &page)?;
        let access = Access { token: &keys.token, app_secret: &keys.app_secret };
        let sent = outgoing.graph.act(access, &page.page_id, &send::action(&sender, action)).await;
        sent.map_err(|verdict| anyhow::anyhow!("{verdict:?}"))
    };
    if let Err(error) = tried.await {
        debug!(room.id = %room, error = %format!("{error:#}"), "a sign of life to room {room} failed");
    }
}
