//! Calls to a Page that are no messages: signs of life, reactions, profiles, questions. Here is decided whether a Page may be called now,
//! and here its answers are heeded: none of them may go on where a send stops, for Meta lengthens a block for whoever calls on.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{
    Outgoing, PageKeys, consequence, deliver, effects,
    pacing::{Ended, Turn, not_before},
    store::SealedPage,
};
use crate::{
    channels::meta::graph::{Access, Answered, Usage, Verdict},
    clock::Moment,
    crew::Crew,
    ids::TenantId,
};

/// Why a Page is not called.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotNow {
    /// Not before then.
    #[error("the Page is not called before {0}")]
    Later(Moment),
    /// A secret does not open.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
}

/// A call that may be made now; under way until [`Call::end`].
pub(super) struct Call {
    outgoing: Outgoing,
    tenant: TenantId,
    page: SealedPage,
    keys: PageKeys,
    has_ended: bool,
}

impl Call {
    /// Asks whether a Page may be called now.
    ///
    /// # Errors
    /// [`NotNow`]
    pub fn begin(outgoing: &Outgoing, tenant: TenantId, page: &SealedPage) -> Result<Self, NotNow> {
        let now = outgoing.clock.now();
        if let Some(until) = not_before(page.paused_until, now) {
            return Err(NotNow::Later(until));
        }
        let keys = outgoing.open(tenant, page)?;
        match outgoing.pace.lock().ask_call(page.app, page.widget, now) {
            Turn::Now => {}
            Turn::Resting(at) | Turn::PageLater(at) | Turn::PersonLater(at) => return Err(NotNow::Later(at)),
            Turn::TenantLater => return Err(NotNow::Later(now)),
        }
        Ok(Self { outgoing: outgoing.clone(), tenant, page: page.clone(), keys, has_ended: false })
    }

    /// What the call is signed with.
    pub fn access(&self) -> Access<'_> {
        Access { token: &self.keys.token, app_secret: &self.keys.app_secret }
    }

    /// Heeds what the answer says of Page and app; the answer itself is the caller's.
    pub async fn end<T>(mut self, (answer, usage): Answered<T>) -> Result<T, Verdict> {
        let now = self.outgoing.clock.now();
        let ended = answer.as_ref().map_or_else(deliver::ended, |_| Ended::Answered);
        self.has_ended = true;
        let throttled = self.outgoing.pace.lock().end_call(self.page.app, self.page.widget, ended, usage, now);
        let mut means: Vec<_> = consequence::used_up(usage, now).collect();
        if let Err(verdict @ (Verdict::BackOff { .. } | Verdict::Alert { .. })) = &answer {
            means.extend(consequence::of(verdict.clone(), 1, throttled, now, 0.0).1);
        }
        effects::apply_of_call(&self.outgoing, self.tenant, &self.page, &means, now).await;
        answer
    }
}

/// Whoever waited for the answer may have gone.
impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_ended {
            let now = self.outgoing.clock.now();
            let mut pacer = self.outgoing.pace.lock();
            pacer.end_call(self.page.app, self.page.widget, Ended::NotSent, Usage::default(), now);
        }
    }
}

/// What a worker has under way for each Page (or room), so that nobody waits for one that does not answer.
pub(super) struct UnderWay<K> {
    crew: Crew,
    counts: Arc<Mutex<HashMap<K, usize>>>,
    changed: watch::Sender<()>,
}

impl<K: Copy + Eq + Hash + Send + 'static> UnderWay<K> {
    /// Nothing; `changed` rings when something has ended.
    pub fn new(crew: Crew, changed: watch::Sender<()>) -> Self {
        Self { crew, counts: Arc::default(), changed }
    }

    /// Rings when something has ended.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How much there is in all.
    pub fn count(&self) -> usize {
        lock(&self.counts).values().sum()
    }

    /// Who has at least so much.
    pub fn with(&self, count: usize) -> Vec<K> {
        lock(&self.counts).iter().filter(|it| *it.1 >= count).map(|it| *it.0).collect()
    }

    /// Does something in the background.
    pub fn spawn(&self, key: K, work: impl Future<Output = ()> + Send + 'static) {
        *lock(&self.counts).entry(key).or_default() += 1;
        let one = One { key, counts: Arc::clone(&self.counts), changed: self.changed.clone() };
        self.crew.spawn(async move {
            let _one = one;
            work.await;
        });
    }
}

/// One of those under way; also if it panics.
struct One<K: Copy + Eq + Hash> {
    key: K,
    counts: Arc<Mutex<HashMap<K, usize>>>,
    changed: watch::Sender<()>,
}

impl<K: Copy + Eq + Hash> Drop for One<K> {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
        drop(counts);
        self.changed.send_replace(());
    }
}

fn lock<K>(counts: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
