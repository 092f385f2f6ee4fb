//! Fetches what contacts send, and their pictures, into the media store, and shows it in rooms. Nobody waits for it: a message is
//! there before its files are. A file is claimed, fetched and put under its id before its row says so; whoever dies in between leaves
//! a claim that lapses, and the next one puts the same bytes in the same place.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use super::{
    automatic::{self, Occasion},
    events::{self, Kind, NewEvent},
    receipts::{self, Changed},
    store,
};
use crate::{
    channels::{FileReason, FileState},
    clock::{Clock, Moment},
    crew::{Crew, Step, Worker},
    db::bell::{Bell, Topic},
    ids::{ContactId, FileId, MessageId, TenantId},
    media::{
        self, Media, Owner,
        fetch::FetchError,
        links, sniff,
        store::{Claimed, Facts},
    },
};

/// Files under way at one time in this process: each may take `media.max_mib` of memory.
const MOST_AT_ONCE: usize = 8;
/// Of one tenant, in all processes: a flood of one leaves room for the others.
const MOST_PER_TENANT: i64 = 4;
/// Beyond the time for fetching: for the store to take the bytes.
const STORING: Duration = Duration::from_secs(60);
/// Waits before a file is tried again.
const WAITS_S: [i64; 5] = [5, 30, 120, 600, 3600];
/// Tries for a file that its host says is not there: a content network may be late, but an expired link stays expired.
const MOST_TRIES_GONE: i32 = 3;
/// Hours after which an upload that nobody has sent is removed.
const UNSENT_HOURS: i64 = 24;
/// Days for which a channel knows an upload by its name (Meta's attachment ids).
pub const HANDLE_DAYS: i64 = 90;
/// Bytes of removed files deleted in one step.
const MOST_LEFTOVERS: i64 = 100;

/// The worker that fetches.
pub struct Fetcher {
    at_hand: AtHand,
    crew: Crew,
    free: Arc<Semaphore>,
    done: watch::Sender<()>,
}

#[derive(Clone)]
struct AtHand {
    db: PgPool,
    bell: Bell,
    clock: Clock,
    media: Media,
}

impl Fetcher {
    /// A fetcher; files under way belong to `crew`, which waits for them at its end.
    #[must_use]
    pub fn new(db: PgPool, bell: Bell, clock: Clock, media: Media, crew: Crew) -> Self {
        Self {
            at_hand: AtHand { db, bell, clock, media },
            crew,
            free: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            done: watch::channel(()).0,
        }
    }

    /// Rings when a file is done with and the next may begin.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.done.subscribe()
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.free.available_permits() == MOST_AT_ONCE
    }
}

impl Worker for Fetcher {
    const NAME: &'static str = "files";
    // Not at every message: most bring no file, and nobody sees a quarter of a second.
    const POLL: Duration = Duration::from_millis(250);

    async fn step(&self) -> anyhow::Result<Step> {
        let AtHand { db, clock, media, .. } = &self.at_hand;
        let free = i64::try_from(self.free.available_permits())?;
        if free == 0 {
            return Ok(Step::Idle);
        }
        let now = clock.now();
        let claimed_until = now + TimeDelta::from_std(media.fetch.patience() + STORING)?;
        let claimed = media::store::claim_due(db, now, claimed_until, free, MOST_PER_TENANT).await?;
        if claimed.is_empty() {
            return Ok(Step::Idle);
        }
        for it in claimed {
            let place = Arc::clone(&self.free).acquire_owned().await?;
            let (at_hand, done) = (self.at_hand.clone(), self.done.clone());
            self.crew.spawn(async move {
                if let Err(error) = at_hand.bring(&it).await {
                    warn!(file.id = %it.id, error = %format!("{error:#}"), "file {} stays where it is for now", it.id);
                }
                drop(place);
                done.send_replace(());
                at_hand.bell.ring(Topic::Events(it.tenant));
            });
        }
        Ok(Step::Worked)
    }
}

impl AtHand {
    /// Fetches one file. An error leaves the claim to lapse.
    async fn bring(&self, it: &Claimed) -> anyhow::Result<()> {
        let bytes = match self.media.fetch.get(&it.source_url).await {
            Ok(bytes) => bytes,
            Err(FetchError::Unavailable { detail, is_gone }) => return self.again(it, &detail, is_gone).await,
            Err(error) => {
                info!(file.id = %it.id, error = %error, "file {} is not fetched: {error}", it.id);
                let is_large = matches!(error, FetchError::TooLarge(_));
                let reason = if is_large { FileReason::TooLarge } else { FileReason::Refused };
                return self.give_up(it, reason).await;
            }
        };
        let mime = match sniff::judge(it.kind, &bytes) {
            Ok(mime) => mime,
            Err(reason) => return self.give_up(it, reason).await,
        };
        let digest = media::digest(it.kind, it.name.as_deref(), &bytes);
        let facts = Facts { mime, size: i64::try_from(bytes.len())?, digest };
        self.media.vault.put(it.tenant, it.id, bytes).await?;
        self.keep(it, &facts).await
    }

    async fn again(&self, it: &Claimed, why: &str, is_gone: bool) -> anyhow::Result<()> {
        let tries = usize::try_from(it.attempts)?;
        let wait = WAITS_S.get(tries - 1).filter(|_| !is_gone || it.attempts < MOST_TRIES_GONE);
        let Some(wait) = wait else {
            warn!(tenant.id = %it.tenant, file.id = %it.id, why, "file {} could not be fetched in {tries} tries: {why}", it.id);
            return self.give_up(it, FileReason::Unavailable).await;
        };
        info!(file.id = %it.id, why, "file {} is tried again in {wait} s: {why}", it.id);
        let due_at = self.clock.now() + TimeDelta::seconds(*wait);
        Ok(media::store::mark_due(&self.db, it, due_at).await?)
    }

    async fn keep(&self, it: &Claimed, facts: &Facts) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut tx = crate::db::begin(&self.db).await?;
        match it.owner {
            Owner::Message(message, position) => {
                // A link of the channel's is as good as gone: ours is made whenever the message is shown.
                let change = json!({ "state": FileState::Stored, "url": null, "mime": facts.mime, "size": facts.size });
                show(&mut tx, it.tenant, message, position, &change, false, now).await?;
            }
            Owner::Contact(contact) => show_picture(&mut tx, it.tenant, contact, it.id, now).await?,
        }
        // Last, and undoing the rest if the claim is lost: messages are locked before files everywhere.
        if media::store::mark_stored(&mut tx, it, facts, now).await? {
            tx.commit().await?;
            metrics::counter!("chatgate_files_total", "outcome" => "stored").increment(1);
        }
        Ok(())
    }

    async fn give_up(&self, it: &Claimed, reason: FileReason) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut tx = crate::db::begin(&self.db).await?;
        if let Owner::Message(message, position) = it.owner {
            // Its link stays, dead or refused: it is what the contact sent.
            let change = json!({ "state": FileState::Failed, "reason": reason });
            let is_theirs = matches!(reason, FileReason::TooLarge | FileReason::WrongType | FileReason::Empty);
            show(&mut tx, it.tenant, message, position, &change, is_theirs, now).await?;
        }
        if media::store::mark_failed(&mut tx, it, reason).await? {
            tx.commit().await?;
            metrics::counter!("chatgate_files_total", "outcome" => reason.as_str()).increment(1);
            self.bell.ring(Topic::Outbox);
        }
        Ok(())
    }
}

/// Changes an attachment of a message and tells of it; tells the contact, too, if the file cannot be handled and that is their doing.
async fn show(
    tx: &mut PgConnection,
    tenant: TenantId,
    message: MessageId,
    position: i32,
    change: &Value,
    tell_contact: bool,
    now: Moment,
) -> sqlx::Result<()> {
    let Some(room) = store::files::find_room(tx, tenant, message).await? else { return Ok(()) };
    // Rooms before messages, as everywhere.
    let Some(mut locked) = store::lock(tx, tenant, room).await? else { return Ok(()) };
    let is_inbound = store::files::mark_attachment(tx, tenant, message, position, change).await?;
    receipts::announce(tx, tenant, &[Changed { message, room }], now).await?;
    if tell_contact && is_inbound {
        automatic::say(tx, tenant, &mut locked, Occasion::Error, now).await?;
    }
    Ok(())
}

async fn show_picture(
    tx: &mut PgConnection,
    tenant: TenantId,
    contact: ContactId,
    file: FileId,
    now: Moment,
) -> sqlx::Result<()> {
    let room = store::files::mark_picture(tx, tenant, contact, &links::stored(file), now).await?;
    media::store::delete_older_pictures(tx, tenant, contact, file).await?;
    let Some(room) = room else { return Ok(()) };
    let Some(view) = store::find_view(tx, tenant, room, now).await? else { return Ok(()) };
    let mut event = NewEvent::room(tenant, Kind::ContactUpdated, &view);
    event.data = events::written(&view.contact);
    events::append(tx, now, &[event]).await
}

/// The worker that removes uploads nobody sent, and the bytes of files whose rows are gone, however they went.
pub struct Tidier {
    /// The database.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
    /// Where the bytes are.
    pub media: Media,
}

impl Worker for Tidier {
    const NAME: &'static str = "tidy";
    const POLL: Duration = Duration::from_secs(60);

    async fn step(&self) -> anyhow::Result<Step> {
        let (now, media) = (self.clock.now(), &self.media);
        let (unsent, handles) = (now - TimeDelta::hours(UNSENT_HOURS), now - TimeDelta::days(HANDLE_DAYS));
        media::store::delete_stale(&self.db, unsent, handles).await?;
        // Whoever was fetching a file when its row went has written its bytes by then, or never will.
        let due_at = now + TimeDelta::from_std((media.fetch.patience() + STORING) * 2)?;
        let leftovers = media::store::list_leftovers(&self.db, now, due_at, MOST_LEFTOVERS).await?;
        for (tenant, file) in &leftovers {
            media.vault.delete(*tenant, *file).await?;
            media::store::delete_leftover(&self.db, *tenant, *file).await?;
        }
        Ok(if leftovers.is_empty() { Step::Idle } else { Step::Worked })
    }
}
