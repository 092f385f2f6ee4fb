//! Workers: each takes one bounded step at a time and may be cut after any of them; work waits in PostgreSQL, not in memory.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, error, info_span};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something; there may be more.
    Worked,
    /// Nothing was waiting.
    Idle,
}

/// Somebody who takes steps.
pub trait Worker: Send + Sync + 'static {
    /// Its name in logs and metrics.
    const NAME: &'static str;
    /// How long it waits when nobody wakes it: only the safety net for a lost wake-up and for what the clock alone makes due.
    const POLL: Duration = Duration::from_secs(1);

    /// One bounded step.
    fn step(&self) -> impl Future<Output = anyhow::Result<Step>> + Send;
}

/// Pause after a failed step; doubles up to [`LONGEST_PAUSE`] while steps go on failing.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause after failed steps: how late work may go on after PostgreSQL is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The workers of a process; they stop together.
#[derive(Clone, Default)]
pub struct Crew {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Crew {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the crew shall go home.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task` until it ends by itself; it should watch [`Crew::stop_token`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Lets `worker` take steps until the crew stops: at once after a step that worked, else when `wake` changes or after the poll.
    pub fn hire<W: Worker>(&self, worker: Arc<W>, mut wake: Option<watch::Receiver<()>>) {
        let stop = self.stop.clone();
        let work = async move {
            let mut pause = FIRST_PAUSE;
            while !stop.is_cancelled() {
                // In a task of its own, so that a panic in one step is one failed step.
                let step = tokio::spawn({
                    let worker = Arc::clone(&worker);
                    async move { worker.step().await }.in_current_span()
                });
                let wait = match step.await {
                    Ok(Ok(Step::Worked)) => {
                        pause = FIRST_PAUSE;
                        continue;
                    }
                    Ok(Ok(Step::Idle)) => {
                        pause = FIRST_PAUSE;
                        W::POLL
                    }
                    failed => {
                        let why = match failed {
                            Ok(Err(error)) => format!("{error:#}"),
                            _ => "panic".to_owned(),
                        };
                        error!(worker = W::NAME, error = %why, "a step of worker {} failed; trying again", W::NAME);
                        metrics::counter!("chatgate_worker_failures_total", "worker" => W::NAME).increment(1);
                        tokio::select! { () = tokio::time::sleep(pause) => {}, () = stop.cancelled() => {} }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        continue;
                    }
                };
                let rung = async {
                    // A bell that is gone rings no more; the poll goes on.
                    let Some(wake) = &mut wake else { return std::future::pending().await };
                    if wake.changed().await.is_err() {
                        std::future::pending().await
                    }
                };
                tokio::select! { () = rung => {}, () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
            }
        };
        self.tracker.spawn(work.instrument(info_span!("worker", name = W::NAME)));
    }

    /// Asks everybody to stop after the step at hand and waits for them, at most `patience`. False if somebody is still at work.
    pub async fn dismiss(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }
}
