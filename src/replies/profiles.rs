//! Names and pictures of contacts, asked for once and never waited for; and signs of life to them. Neither may fail a message.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tracing::debug;

use super::{
    Outgoing,
    calls::{Call, NotNow, UnderWay},
    store::{self, Unasked},
};
use crate::{
    channels::{
        AttachmentKind,
        messenger::send::{self, SenderAction},
    },
    check::{self, MAX_NAME},
    crew::{Crew, Step, Worker},
    db::bell::Topic,
    ids::{FileId, RoomId, TenantId, WidgetId},
    media::{self, NewFile, Owner},
    rooms::{
        self,
        events::{self, Kind, NewEvent},
    },
};

/// Profiles asked for at one time, and how many of them of one Page: one that does not answer holds up its own only.
const MOST_AT_ONCE: usize = 64;
const MOST_OF_A_PAGE: usize = 8;
/// How long a Page is left that has as many calls under way as it may.
const BUSY: TimeDelta = TimeDelta::seconds(1);
/// Waits after failures in a row; then it is left until the contact opens a room long after.
const WAITS: [TimeDelta; 3] = [TimeDelta::hours(1), TimeDelta::hours(6), TimeDelta::hours(24)];

/// The worker that asks for profiles.
pub struct Profiles {
    outgoing: Outgoing,
    under_way: UnderWay<WidgetId>,
}

impl Profiles {
    /// Asks in the background; `crew` waits for that at its end.
    #[must_use]
    pub fn new(outgoing: Outgoing, crew: Crew) -> Self {
        Self { outgoing, under_way: UnderWay::new(crew, watch::Sender::default()) }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.count() == 0
    }

    /// Rings when there may be a place for more.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.under_way.changes()
    }
}

impl Worker for Profiles {
    const NAME: &'static str = "profiles";
    /// How long a new contact may be nameless: nobody rings for them.
    const POLL: Duration = Duration::from_millis(250);

    async fn step(&self) -> anyhow::Result<Step> {
        let (now, free) = (self.outgoing.clock.now(), MOST_AT_ONCE.saturating_sub(self.under_way.count()));
        let (most, full) = (free.min(MOST_OF_A_PAGE), self.under_way.with(MOST_OF_A_PAGE));
        if most == 0 {
            return Ok(Step::Idle);
        }
        let claimed =
            store::claim_unasked(&self.outgoing.db, now, now + WAITS[0], &full, most.try_into().unwrap_or(1)).await?;
        if claimed.is_empty() {
            return Ok(Step::Idle);
        }
        let mut later = Vec::new();
        for it in claimed {
            match Call::begin(&self.outgoing, it.tenant, &it.page) {
                Ok(call) => {
                    let outgoing = self.outgoing.clone();
                    self.under_way.spawn(it.page.widget, async move {
                        if let Err(error) = ask(&outgoing, &it, call).await {
                            no_profile(&it, &error);
                        }
                    });
                }
                Err(NotNow::Later(at)) => later.push((it.tenant, it.contact, at.max(now + BUSY))),
                Err(error @ NotNow::Seal(_)) => no_profile(&it, &error.into()),
            }
        }
        store::put_back_unasked(&self.outgoing.db, &later).await?;
        Ok(Step::Worked)
    }
}

fn no_profile(it: &Unasked, error: &anyhow::Error) {
    debug!(contact.id = %it.contact, error = %format!("{error:#}"), "no profile for contact {}", it.contact);
}

async fn ask(outgoing: &Outgoing, it: &Unasked, call: Call) -> anyhow::Result<()> {
    let answered = outgoing.graph.profile(call.access(), &it.sender_id).await;
    let (asked, now) = (call.end(answered).await, outgoing.clock.now());
    let profile = match asked {
        Ok(Some(profile)) => profile,
        // There is none, or we may not see it: asking again soon would not help.
        Ok(None) => return Ok(store::mark_unknown(&outgoing.db, it, None, 0).await?),
        Err(verdict) => {
            let wait = usize::try_from(it.failures).ok().and_then(|failures| WAITS.get(failures));
            store::mark_unknown(&outgoing.db, it, wait.map(|wait| now + *wait), it.failures + 1).await?;
            anyhow::bail!("{verdict:?}");
        }
    };
    let name = profile
        .name
        .or_else(|| Some([profile.first_name.as_deref()?, profile.last_name.as_deref().unwrap_or("")].join(" ")));
    let name = name.map(|it| clean(&it)).filter(|it| !it.is_empty());
    let first_name = profile.first_name.map(|it| clean(&it)).filter(|it| !it.is_empty());
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let locale = profile.locale.as_deref().filter(|it| check::locale(it).is_some());
    let room = store::mark_profile(&mut tx, it, name.as_deref(), first_name.as_deref(), locale, now).await?;
    if let Some(source_url) = profile.picture_url {
        let (owner, kind) = (Owner::Contact(it.contact), AttachmentKind::Image);
        let picture = NewFile { tenant: it.tenant, id: FileId::fresh(now), owner, kind, source_url, name: None };
        media::store::insert_files(&mut tx, &[picture], now).await?;
    }
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

/// A name on one line, as long as people may enter one.
fn clean(name: &str) -> String {
    name.trim().chars().filter(|it| !it.is_control()).take(MAX_NAME).collect()
}

/// Shows the contact that somebody types or has seen what they wrote. Failures are for the log only.
pub async fn act(outgoing: &Outgoing, tenant: TenantId, room: RoomId, action: SenderAction) {
    let tried = async {
        let Some((sender, page)) = store::find_page(&outgoing.db, tenant, room).await? else { return Ok(()) };
        let call = Call::begin(outgoing, tenant, &page)?;
        let answered = outgoing.graph.act(call.access(), &page.page_id, &send::action(&sender, action)).await;
        call.end(answered).await.map_err(|verdict| anyhow::anyhow!("{verdict:?}"))
    };
    if let Err(error) = tried.await {
        debug!(room.id = %room, error = %format!("{error:#}"), "a sign of life to room {room} failed");
    }
}
