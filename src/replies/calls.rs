//! Calls to a Page that are no messages: signs of life, reactions, profiles, questions. Here is decided whether a Page may be called now,
//! and here its answers are heeded: none of them may go on where a send stops, for Meta lengthens a block for whoever calls on.

use super::{
    Outgoing, PageKeys, consequence, effects,
    pacing::{Ended, Turn, not_before},
    store::SealedPage,
    worker,
};
use crate::{
    channels::meta::graph::{Access, Answered, Usage, Verdict},
    clock::Moment,
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
        let ended = answer.as_ref().map_or_else(worker::ended, |_| Ended::Answered);
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
