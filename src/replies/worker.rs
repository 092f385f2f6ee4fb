//! Sends what is on its way, as [`super::claims`] says.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::sync::watch;
use tracing::warn;

use super::{
    claims::{Claimed, Claims},
    consequence::{self, Fate},
    record::Outcome,
    store::send as store,
};
use crate::{
    clock::Moment,
    crew::{Crew, Step, Worker},
    db::{
        self,
        bell::{Topic, Work},
    },
};

/// With this many sends under way, a claim waits for [`GATHER`], so that it finds more than one.
const BUSY: usize = 32;
const GATHER: Duration = Duration::from_millis(1);
/// How often claims left behind are looked for.
const REAP_EVERY: TimeDelta = TimeDelta::seconds(1);
/// Claims left behind that are settled in one step.
const MOST_REAPED: i64 = 500;

/// The worker that sends.
pub struct Sender {
    /// Claims.
    db: PgPool,
    claims: Claims,
    crew: Crew,
    reaped_at: Mutex<Option<Moment>>,
    rings: Mutex<watch::Receiver<()>>,
    /// The last claim took all that was due.
    has_all: AtomicBool,
    /// Somebody will ring when the next Page may send again.
    is_woken: Arc<AtomicBool>,
}

impl Sender {
    /// Sends what it claims; `crew` waits for that at its end.
    #[must_use]
    pub fn new(claims: Claims, crew: Crew) -> Self {
        let outgoing = &claims.shared.outgoing;
        let (db, rings) = (db::apart(&outgoing.db, db::BY_KEY), Mutex::new(outgoing.bell.changes(Work::Outbox)));
        Self {
            db,
            claims,
            crew,
            reaped_at: Mutex::default(),
            rings,
            has_all: AtomicBool::new(false),
            is_woken: Arc::default(),
        }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.claims.under_way() == 0
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
        let orphans = store::list_orphaned(&self.db, now, MOST_REAPED).await?;
        let outcomes = orphans.into_iter().map(|(claim, claimed_until)| {
            warn!(tenant.id = %claim.tenant, message.id = %claim.message, "message {} was being sent when its sender died: uncertain", claim.message);
            let detail = "Chatgate was stopped while the message was being sent. It may have arrived.";
            let fate = Fate::Uncertain { error: consequence::error("send-uncertain", detail, None) };
            Outcome { claim, fate, sent_between: (claimed_until - self.claims.lasts, claimed_until) }
        });
        let outcomes: Vec<_> = outcomes.collect();
        if !outcomes.is_empty() {
            self.claims.shared.recorder.record(outcomes).await;
        }
        Ok(())
    }

    async fn claim(&self, now: Moment) -> sqlx::Result<Claimed> {
        let mut tx = db::begin(&self.db).await?;
        let claimed = self.claims.claim(&mut tx, now, usize::MAX).await?;
        tx.commit().await?;
        Ok(claimed)
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
        if wait > Self::POLL || self.is_woken.swap(true, Ordering::Relaxed) {
            return;
        }
        let (is_woken, stop) = (Arc::clone(&self.is_woken), self.crew.stop_token());
        let bell = self.claims.shared.outgoing.bell.clone();
        self.crew.spawn(async move {
            tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
            is_woken.store(false, Ordering::Relaxed);
            bell.ring_here(Topic::Outbox);
        });
    }
}

impl Worker for Sender {
    const NAME: &'static str = "replies";

    async fn step(&self) -> anyhow::Result<Step> {
        // After a claim that took all there was, nothing is looked for before somebody rings or the poll is over.
        if self.has_all.swap(false, Ordering::Relaxed) && !self.has_rung() {
            return Ok(Step::Idle);
        }
        if self.claims.under_way() >= BUSY {
            tokio::time::sleep(GATHER).await;
        }
        self.reap(self.claims.shared.outgoing.clock.now()).await?;
        // Waits while all places are taken: for as long as a send may take, so a claim counts from afterwards.
        self.claims.wait_for_place().await;
        let now = self.claims.shared.outgoing.clock.now();
        // What ends while the claim looks may be what it looks for.
        self.claims.shared.is_held_up.store(true, Ordering::SeqCst);
        self.forget_rings();
        let claimed = self.claim(now).await?;
        self.claims.shared.is_held_up.store(!claimed.has_all, Ordering::SeqCst);
        if let Some(at) = claimed.look_at {
            self.look_again(at, now);
        }
        if claimed.jobs.is_empty() {
            return Ok(Step::Idle);
        }
        self.has_all.store(claimed.has_all, Ordering::Relaxed);
        self.claims.start(claimed);
        Ok(Step::Worked)
    }
}
