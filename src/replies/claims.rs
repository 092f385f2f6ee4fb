//! Who may be sent now. A message is claimed, and the claim committed, before anything leaves; the verdict is a second transaction. So a
//! message whose sender died is found claimed, may have been sent, and becomes uncertain rather than sent twice.
//!
//! Claims are taken in sets: by the worker that sends, and by the transaction that stores replies, which so saves them a second one. Many
//! sends are under way at one time. Who may go is asked of [`super::pacing::Pacer`].

use std::sync::{
    Arc, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use chrono::TimeDelta;
use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{
    Outgoing,
    consequence::{self, Fate, TOKEN_LOOK},
    deliver,
    pacing::{Ended, Lane, Pacer, Turn, not_before},
    record::Recorder,
    store::send::{self as store, Due},
};
use crate::{
    channels::{
        AttachmentKind, Content,
        messenger::window::{AnswerPath, answer_path},
        meta::graph::Usage,
    },
    clock::Moment,
    crew::Crew,
    db::bell::Topic,
    ids::MessageId,
    rooms::AuthorKind,
};

/// Statements of one claim; each leaves out the Pages and tenants that the ones before found to have their share.
const MOST_PASSES: usize = 12;
/// How long after the Graph client's patience a claim counts as left behind by a dead process.
const CLAIM_MARGIN: TimeDelta = TimeDelta::seconds(10);

/// Takes claims and has them carried out. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Claims {
    pub(super) shared: Arc<Shared>,
    crew: Crew,
    free: Arc<Semaphore>,
    at_once: usize,
    pub(super) lasts: TimeDelta,
}

/// What everybody who sends works with.
pub(super) struct Shared {
    pub outgoing: Outgoing,
    pub recorder: Recorder,
    /// Something is due that had to be left, because Pages, tenants or all of us have enough under way: each send that ends may let it go.
    pub is_held_up: AtomicBool,
    takes_at_once: AtomicBool,
}

impl Shared {
    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.outgoing.pace.lock()
    }
}

/// A claimed message, and what is to be done with it.
pub(super) enum Job {
    Send(Due, AnswerPath, Content, Going),
    End(Due, Fate),
}

impl Job {
    fn due(&self) -> &Due {
        match self {
            Self::Send(due, ..) | Self::End(due, _) => due,
        }
    }
}

/// A turn that was given: under way until it ends, or until it is dropped, and then nothing was sent.
pub(super) struct Going {
    shared: Arc<Shared>,
    lane: Lane,
    has_ended: bool,
}

impl Going {
    /// How often the Page was throttled in a row, this time included.
    pub fn end(mut self, ended: Ended, usage: Usage, now: Moment) -> u32 {
        self.has_ended = true;
        self.shared.pacer().end(&self.lane, ended, usage, now)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if !self.has_ended {
            let now = self.shared.outgoing.clock.now();
            self.shared.pacer().end(&self.lane, Ended::NotSent, Usage::default(), now);
        }
    }
}

/// What a claim brought.
pub(super) struct Claimed {
    pub jobs: Vec<Job>,
    /// Room for all jobs.
    places: Option<OwnedSemaphorePermit>,
    /// The moment of the claim.
    at: Moment,
    /// When to look again, if only somebody's pace stands in the way.
    pub look_at: Option<Moment>,
    /// Nothing else is due.
    pub has_all: bool,
}

impl Claimed {
    /// Whether this message is among them.
    pub fn has(&self, message: MessageId) -> bool {
        self.jobs.iter().any(|it| it.due().message == message)
    }
}

impl Claims {
    /// Up to `at_once` messages under way at one time; they belong to `crew`, which waits for them at its end. `patience` is the Graph
    /// client's.
    #[must_use]
    pub fn new(outgoing: Outgoing, crew: Crew, at_once: u32, patience: TimeDelta) -> Self {
        let at_once = at_once as usize;
        let recorder = Recorder::new(&outgoing);
        let (is_held_up, takes_at_once) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { outgoing, recorder, is_held_up, takes_at_once });
        Self { shared, crew, free: Arc::new(Semaphore::new(at_once)), at_once, lasts: patience + CLAIM_MARGIN }
    }

    /// What everybody who sends works with.
    #[must_use]
    pub fn outgoing(&self) -> &Outgoing {
        &self.shared.outgoing
    }

    /// From now on whoever writes replies claims them, too. Before, the worker alone does, at its steps.
    pub fn take_at_once(&self) {
        self.shared.takes_at_once.store(true, Ordering::Relaxed);
    }

    pub(super) fn takes_at_once(&self) -> bool {
        self.shared.takes_at_once.load(Ordering::Relaxed) && !self.crew.stop_token().is_cancelled()
    }

    /// Messages under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.at_once - self.free.available_permits()
    }

    /// Waits while all places are taken: for as long as a send may take, so a claim counts from afterwards.
    pub(super) async fn wait_for_place(&self) {
        // It is never closed.
        drop(self.free.acquire().await);
    }

    /// Claims up to `most` messages, oldest first, as far as there are places. Whoever commits has them carried out by
    /// [`start`](Self::start); if the claim is dropped nothing was sent.
    pub(super) async fn claim(&self, tx: &mut PgConnection, now: Moment, most: usize) -> sqlx::Result<Claimed> {
        let places = self.take_places(most);
        let most = places.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let mut claimed = Claimed { jobs: Vec::new(), places, at: now, look_at: None, has_all: false };
        if most == 0 {
            return Ok(claimed);
        }
        let (pages, tenants) = self.shared.pacer().full(now);
        let mut skipped = Skipped {
            pages: pages.into_iter().map(|it| it.0).collect(),
            tenants: tenants.into_iter().map(|it| it.0).collect(),
        };
        for _ in 0..MOST_PASSES {
            let wanted = (most - claimed.jobs.len()).min(store::MOST_LOOKED_AT);
            let due = store::lock_due(tx, now, &skipped.pages, &skipped.tenants, wanted).await?;
            let (is_all, known) = (due.len() < wanted, skipped.count());
            let (mut found, mut postponed) = (Vec::new(), Vec::new());
            for it in due {
                match may_go(&it, now) {
                    May::Go(path, content) => {
                        let lane = lane(&it, &content);
                        let turn = self.shared.pacer().ask(&lane, now);
                        match turn {
                            Turn::Now => {
                                let going = Going { shared: Arc::clone(&self.shared), lane, has_ended: false };
                                found.push(Job::Send(it, path, content, going));
                            }
                            Turn::TenantLater => skipped.tenants.push(it.tenant.0),
                            Turn::PersonLater(at) => postponed.push((it, at)),
                            Turn::Resting(until) => skipped.postpone(tx, &it, until).await?,
                            Turn::PageLater(at) => {
                                skipped.pages.push(it.widget.0);
                                claimed.look_at = claimed.look_at.into_iter().chain([at]).filter(|at| *at > now).min();
                            }
                        }
                    }
                    May::Never(fate) => found.push(Job::End(it, fate)),
                    May::PageLater(until) => skipped.postpone(tx, &it, until).await?,
                    May::Later(until) => postponed.push((it, until)),
                }
            }
            // Else the next look would find the same again.
            let has_moved = !found.is_empty() || !postponed.is_empty() || skipped.count() > known;
            for (it, until) in postponed {
                store::postpone(tx, &it, until).await?;
            }
            let marked: Vec<_> = found.iter().map(Job::due).collect();
            store::mark_sending(tx, &marked, now + self.lasts).await?;
            claimed.jobs.extend(found);
            if is_all || claimed.jobs.len() >= most || !has_moved {
                claimed.has_all = is_all && skipped.count() == 0;
                break;
            }
        }
        Ok(claimed)
    }

    /// As many as are free.
    fn take_places(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        loop {
            let count = u32::try_from(self.free.available_permits().min(most)).unwrap_or(u32::MAX);
            if count == 0 {
                return None;
            }
            // Somebody else may have been quicker.
            if let Ok(places) = Arc::clone(&self.free).try_acquire_many_owned(count) {
                return Some(places);
            }
        }
    }

    /// Has what was claimed carried out. After the commit.
    pub(super) fn start(&self, claimed: Claimed) {
        let (mut places, at) = (claimed.places, claimed.at);
        for job in claimed.jobs {
            let place = places.as_mut().and_then(|it| it.split(1));
            let shared = Arc::clone(&self.shared);
            self.crew.spawn(async move {
                let outcome = deliver::carry_out(&shared, job, at).await;
                // Rings if the room has a next message.
                shared.recorder.record([outcome]).await;
                drop(place);
                // Only here: other processes have their own places.
                if shared.is_held_up.load(Ordering::SeqCst) {
                    shared.outgoing.bell.ring_here(Topic::Outbox);
                }
            });
        }
    }
}

/// Pages and tenants that a claim leaves out from now on.
#[derive(Default)]
struct Skipped {
    pages: Vec<Uuid>,
    tenants: Vec<Uuid>,
}

impl Skipped {
    fn count(&self) -> usize {
        self.pages.len() + self.tenants.len()
    }

    /// Leaves a Page out for longer than this claim.
    async fn postpone(&mut self, tx: &mut sqlx::PgConnection, it: &Due, until: Moment) -> sqlx::Result<()> {
        if !self.pages.contains(&it.widget.0) {
            self.pages.push(it.widget.0);
            store::postpone_page(tx, it.tenant, it.widget, until).await?;
        }
        Ok(())
    }
}

/// Whether a message may go, as far as the database knows.
#[derive(Debug, PartialEq)]
enum May {
    Go(AnswerPath, Content),
    Never(Fate),
    /// Nothing of its Page before then.
    PageLater(Moment),
    /// Not before then.
    Later(Moment),
}

fn may_go(it: &Due, now: Moment) -> May {
    let never = |slug: &str, detail: &str| May::Never(Fate::Failed { error: consequence::error(slug, detail, None) });
    // The tag for people is for people.
    let path = answer_path(it.opened, it.human_agent && it.author_kind == AuthorKind::Agent, now);
    if path == AnswerPath::Closed {
        return never("window-closed", "The messaging window closed before the message could go out.");
    }
    if let Some(error) = &it.unreachable {
        return May::Never(Fate::Failed { error: error.clone() });
    }
    if it.page.is_none() {
        return May::PageLater(now + TOKEN_LOOK);
    }
    if let Some(until) = not_before(it.paused_until, now) {
        return May::PageLater(until);
    }
    if let Some(until) = not_before(it.person_paused_until, now) {
        return May::Later(until);
    }
    match serde_json::from_value(it.content.clone()) {
        Ok(content) => May::Go(path, content),
        Err(_) => never("send-failed", "The message cannot be read any more."),
    }
}

fn lane(it: &Due, content: &Content) -> Lane {
    let is_media = match content {
        Content::Attachments { attachments, .. } => {
            attachments.iter().any(|it| matches!(it.kind, AttachmentKind::Audio | AttachmentKind::Video))
        }
        _ => false,
    };
    Lane { tenant: it.tenant, app: it.app, page: it.widget, room: it.room, is_media }
}
