//! Sends what is on its way. A message is claimed, and the claim committed, before anything leaves; the verdict is a second
//! transaction. So a message whose sender died is found claimed, may have been sent, and becomes uncertain rather than sent twice.
//!
//! Claims are taken in sets, many sends are under way at one time, verdicts are written in sets. Who may go is asked of [`Pacer`].

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Outgoing,
    consequence::{self, Effect, Fate, TOKEN_LOOK},
    effects, files,
    pacing::{Ended, Lane, Pacer, Turn, not_before},
    record::{Outcome, Recorder},
    store::{
        SealedPage,
        send::{self as claims, Claim, Due},
    },
};
use crate::{
    channels::{
        AttachmentKind, Content,
        messenger::{
            send::{self, Prompts},
            window::{AnswerPath, answer_path},
        },
        meta::graph::{Access, GraphError, Usage, Verdict},
    },
    clock::Moment,
    crew::{Crew, Step, Worker},
    db::{
        self,
        bell::{Topic, Work},
    },
    rooms::{AuthorKind, receipts::METADATA_PREFIX},
};

/// Statements of one claim; each leaves out the Pages and tenants that the ones before found to have their share.
const MOST_PASSES: usize = 12;
/// With this many sends under way, a claim waits for [`GATHER`], so that it finds more than one.
const BUSY: usize = 32;
const GATHER: Duration = Duration::from_millis(1);
/// How long after the Graph client's patience a claim counts as left behind by a dead process.
const CLAIM_MARGIN: TimeDelta = TimeDelta::seconds(10);
/// How often claims left behind are looked for.
const REAP_EVERY: TimeDelta = TimeDelta::seconds(1);
/// Claims left behind that are settled in one step.
const MOST_REAPED: i64 = 500;

/// The worker that sends.
pub struct Sender {
    /// Claims.
    db: PgPool,
    shared: Arc<Shared>,
    crew: Crew,
    free: Arc<Semaphore>,
    at_once: usize,
    claim: TimeDelta,
    reaped_at: Mutex<Option<Moment>>,
    rings: Mutex<watch::Receiver<()>>,
    /// The last claim took all that was due.
    has_all: AtomicBool,
}

struct Shared {
    outgoing: Outgoing,
    recorder: Recorder,
    /// Somebody will ring when the next Page may send again.
    is_woken: AtomicBool,
    /// Something is due that had to be left, because Pages, tenants or all of us have enough under way: each send that ends may let it go.
    is_held_up: AtomicBool,
}

impl Shared {
    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.outgoing.pace.lock()
    }
}

/// A claimed message, and what is to be done with it.
enum Job {
    Send(Due, AnswerPath, Content, Lane),
    End(Due, Fate),
}

impl Job {
    fn due(&self) -> &Due {
        match self {
            Self::Send(due, ..) | Self::End(due, _) => due,
        }
    }
}

impl Sender {
    /// A sender of `at_once` messages at one time; they belong to `crew`, which waits for them at its end. `patience` is the Graph
    /// client's.
    #[must_use]
    pub fn new(outgoing: Outgoing, crew: Crew, at_once: u32, patience: TimeDelta) -> Self {
        let at_once = at_once as usize;
        let (db, recorder) = (db::apart(&outgoing.db, db::BY_KEY), Recorder::new(&outgoing));
        let rings = Mutex::new(outgoing.bell.changes(Work::Outbox));
        let shared =
            Shared { outgoing, recorder, is_woken: AtomicBool::new(false), is_held_up: AtomicBool::new(false) };
        Self {
            db,
            shared: Arc::new(shared),
            crew,
            free: Arc::new(Semaphore::new(at_once)),
            at_once,
            claim: patience + CLAIM_MARGIN,
            reaped_at: Mutex::default(),
            rings,
            has_all: AtomicBool::new(false),
        }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way() == 0
    }

    fn under_way(&self) -> usize {
        self.at_once - self.free.available_permits()
    }

    /// What dead processes left behind may have been sent.
    async fn reap(&self, now: Moment) -> anyhow::Result<()> {
        {
            let mut reaped_at = self.reaped_at.lock().unwrap_or_else(PoisonError::into_inner);
            if reaped_at.is_some_and(|at| now - at < REAP_EVERY) {
                return Ok(());
            }
            *reaped_at = Some(now);
        }
        let orphans = claims::list_orphaned(&self.db, now, MOST_REAPED).await?;
        let outcomes = orphans.into_iter().map(|(claim, claimed_until)| {
            warn!(tenant.id = %claim.tenant, message.id = %claim.message, "message {} was being sent when its sender died: uncertain", claim.message);
            let detail = "Chatgate was stopped while the message was being sent. It may have arrived.";
            let fate = Fate::Uncertain { error: consequence::error("send-uncertain", detail, None) };
            Outcome { claim, fate, sent_between: (claimed_until - self.claim, claimed_until) }
        });
        let outcomes: Vec<_> = outcomes.collect();
        if !outcomes.is_empty() {
            self.shared.recorder.record(outcomes).await;
        }
        Ok(())
    }

    /// Claims up to `most` messages.
    async fn claim(&self, now: Moment, most: usize) -> anyhow::Result<Claimed> {
        let (pages, tenants) = self.shared.pacer().full(now);
        let mut skipped = Skipped {
            pages: pages.into_iter().map(|it| it.0).collect(),
            tenants: tenants.into_iter().map(|it| it.0).collect(),
        };
        let (mut jobs, mut look_at, mut has_all) = (Vec::new(), None, false);
        let mut tx = db::begin(&self.db).await?;
        for _ in 0..MOST_PASSES {
            let wanted = (most - jobs.len()).min(claims::MOST_LOOKED_AT);
            let due = claims::lock_due(&mut tx, now, &skipped.pages, &skipped.tenants, wanted).await?;
            let (is_all, known) = (due.len() < wanted, skipped.count());
            let (mut claimed, mut postponed) = (Vec::new(), Vec::new());
            for it in due {
                match may_go(&it, now) {
                    May::Go(path, content) => {
                        let lane = lane(&it, &content);
                        let turn = self.shared.pacer().ask(&lane, now);
                        match turn {
                            Turn::Now => claimed.push(Job::Send(it, path, content, lane)),
                            Turn::TenantLater => skipped.tenants.push(it.tenant.0),
                            Turn::PersonLater(at) => postponed.push((it, at)),
                            Turn::Resting(until) => skipped.postpone(&mut tx, &it, until).await?,
                            Turn::PageLater(at) => {
                                skipped.pages.push(it.widget.0);
                                look_at = look_at.into_iter().chain([at]).filter(|at| *at > now).min();
                            }
                        }
                    }
                    May::Never(fate) => claimed.push(Job::End(it, fate)),
                    May::PageLater(until) => skipped.postpone(&mut tx, &it, until).await?,
                    May::Later(until) => postponed.push((it, until)),
                }
            }
            // Else the next look would find the same again.
            let has_moved = !claimed.is_empty() || !postponed.is_empty() || skipped.count() > known;
            for (it, until) in postponed {
                claims::postpone(&mut tx, &it, until).await?;
            }
            let marked: Vec<_> = claimed.iter().map(Job::due).collect();
            claims::mark_sending(&mut tx, &marked, now + self.claim).await?;
            jobs.extend(claimed);
            if is_all || jobs.len() >= most || !has_moved {
                has_all = is_all && skipped.count() == 0;
                break;
            }
        }
        tx.commit().await?;
        Ok(Claimed { jobs, look_at, has_all })
    }

    /// Whether the bell has rung since the last claim began.
    fn has_rung(&self) -> bool {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).has_changed().unwrap_or(true)
    }

    fn forget_rings(&self) {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).mark_unchanged();
    }

    /// Looks again at that moment, if it is not far.
    fn look_again(&self, at: Moment, now: Moment) {
        let Ok(wait) = (at - now).to_std() else { return };
        if wait > Self::POLL || self.shared.is_woken.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, stop) = (Arc::clone(&self.shared), self.crew.stop_token());
        self.crew.spawn(async move {
            tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
            shared.is_woken.store(false, Ordering::Relaxed);
            shared.outgoing.bell.ring_here(Topic::Outbox);
        });
    }
}

/// What a claim brought.
struct Claimed {
    jobs: Vec<Job>,
    /// When to look again, if only somebody's pace stands in the way.
    look_at: Option<Moment>,
    /// Nothing else is due.
    has_all: bool,
}

impl Worker for Sender {
    const NAME: &'static str = "replies";

    async fn step(&self) -> anyhow::Result<Step> {
        // After a claim that took all there was, nothing is looked for before somebody rings or the poll is over.
        if self.has_all.swap(false, Ordering::Relaxed) && !self.has_rung() {
            return Ok(Step::Idle);
        }
        if self.under_way() >= BUSY {
            tokio::time::sleep(GATHER).await;
        }
        self.reap(self.shared.outgoing.clock.now()).await?;
        // Waits while all places are taken: for as long as a send may take, so a claim counts from afterwards.
        drop(self.free.acquire().await?);
        let now = self.shared.outgoing.clock.now();
        // What ends while the claim looks may be what it looks for.
        self.shared.is_held_up.store(true, Ordering::SeqCst);
        self.forget_rings();
        let claimed = self.claim(now, self.free.available_permits()).await?;
        self.shared.is_held_up.store(!claimed.has_all, Ordering::SeqCst);
        if let Some(at) = claimed.look_at {
            self.look_again(at, now);
        }
        if claimed.jobs.is_empty() {
            return Ok(Step::Idle);
        }
        self.has_all.store(claimed.has_all, Ordering::Relaxed);
        for job in claimed.jobs {
            let place = Arc::clone(&self.free).acquire_owned().await?;
            let shared = Arc::clone(&self.shared);
            self.crew.spawn(async move {
                let outcome = carry_out(&shared, job, now).await;
                // Rings if the room has a next message.
                shared.recorder.record([outcome]).await;
                drop(place);
                // Only here: other processes have their own places.
                if shared.is_held_up.load(Ordering::SeqCst) {
                    shared.outgoing.bell.ring_here(Topic::Outbox);
                }
            });
        }
        Ok(Step::Worked)
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
            claims::postpone_page(tx, it.tenant, it.widget, until).await?;
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

async fn carry_out(shared: &Shared, job: Job, claimed_at: Moment) -> Outcome {
    let (due, fate) = match job {
        Job::Send(due, path, content, lane) => {
            let fate = deliver(shared, &due, path, &content, &lane).await;
            (due, fate)
        }
        Job::End(due, fate) => (due, fate),
    };
    let claim = Claim { tenant: due.tenant, room: due.room, seq: due.seq, message: due.message, widget: due.widget };
    Outcome { claim, fate, sent_between: (claimed_at, shared.outgoing.clock.now()) }
}

async fn deliver(shared: &Shared, it: &Due, path: AnswerPath, content: &Content, lane: &Lane) -> Fate {
    let outgoing = &shared.outgoing;
    let asked = match &it.page {
        Some(page) => ask(outgoing, it, page, path, content).await,
        None => None,
    };
    let now = outgoing.clock.now();
    let Some((verdict, usage)) = asked else {
        shared.pacer().end(lane, Ended::NotSent, Usage::default(), now);
        return Fate::Again { due_at: now + TOKEN_LOOK, counts: false };
    };
    let label = name_of(&verdict);
    metrics::counter!("chatgate_sends_total", "verdict" => label).increment(1);
    if let Some(why) = verdict.error() {
        warn!(message.id = %it.message, verdict = label, error = %why, "message {} was not sent: {label}", it.message);
    }
    let is_sent = matches!(verdict, Verdict::Sent { .. });
    let throttled = shared.pacer().end(lane, ended(&verdict), usage, now);
    let (fate, mut effects) = consequence::of(verdict, it.attempts + 1, throttled, now, rand::random());
    if is_sent && it.is_in_trouble {
        effects.push(Effect::Recovered);
    }
    effects.extend(consequence::used_up(usage, now));
    effects::apply(outgoing, it, &effects, now).await;
    if let Fate::Again { due_at, .. } = &fate {
        let wait_ms = (*due_at - now).num_milliseconds();
        info!(message.id = %it.message, wait_ms, "message {} is tried again", it.message);
    }
    fate
}

/// Sends; none if it could not even be tried.
async fn ask(
    outgoing: &Outgoing,
    it: &Due,
    page: &SealedPage,
    path: AnswerPath,
    content: &Content,
) -> Option<(Verdict, Usage)> {
    let keys = match outgoing.open(it.tenant, page) {
        Ok(keys) => keys,
        Err(error) => {
            // Nothing has left: with the right seal key it will.
            error!(widget.id = %it.widget, error = %error, "the secrets of widget {} cannot be opened", it.widget);
            return None;
        }
    };
    let metadata = format!("{METADATA_PREFIX}{}", it.message);
    let access = Access { token: &keys.token, app_secret: &keys.app_secret };
    let mut content = content.clone();
    if let Some(verdict) = files::hand_over(outgoing, it, page, access, &mut content).await {
        return Some((verdict, Usage::default()));
    }
    // Questions have their words since they were written.
    let mut body = send::request(&it.sender_id, &content, &metadata, path, Prompts { email: "", phone: "" });
    if let Some(mid) = &it.reply_to {
        body["reply_to"] = serde_json::json!({ "mid": mid });
    }
    let (verdict, usage) = outgoing.graph.send(access, &page.page_id, &body).await;
    Some((files::reconsider(outgoing, it, &content, verdict).await, usage))
}

/// What a verdict says about the way to Facebook.
pub(super) fn ended(verdict: &Verdict) -> Ended {
    let is_silent = |why: &GraphError| why.http_status.is_none_or(|status| status >= 500);
    match verdict {
        Verdict::BackOff { .. } => Ended::Throttled,
        Verdict::Retry { why, .. } | Verdict::MaybeSent { why } if is_silent(why) => Ended::Silent,
        _ => Ended::Answered,
    }
}

fn name_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sent { .. } => "sent",
        Verdict::Retry { .. } => "retry",
        Verdict::BackOff { .. } => "back_off",
        Verdict::MaybeSent { .. } => "maybe_sent",
        Verdict::Reauth { .. } => "reauth",
        Verdict::WindowClosed { .. } => "window_closed",
        Verdict::Recipient { .. } => "recipient",
        Verdict::Content { .. } => "content",
        Verdict::Config { .. } => "config",
        Verdict::Alert { .. } => "alert",
        Verdict::NotOwner { .. } => "not_owner",
        Verdict::Fail { .. } => "fail",
    }
}
