//! Out to the contact: [`together`] and [`mod@write`] store replies and put them on their way in one transaction, [`worker`] sends them.

mod calls;
pub mod claims;
mod consequence;
mod deliver;
pub mod doubts;
mod effects;
mod files;
pub mod pacing;
pub mod profiles;
pub mod react;
mod record;
pub mod resend;
pub mod store;
pub mod thread;
pub mod together;
pub mod typing;
pub mod worker;
pub mod write;

use std::sync::Arc;

use crate::{
    channels::meta::graph::Graph, clock::Clock, db::bell::Bell, ids::TenantId, media::Media, seal::SealKey,
    secret::Secret,
};

/// What the verbs and workers of this module work with.
#[derive(Clone)]
pub struct Outgoing {
    /// The database.
    pub db: sqlx::PgPool,
    /// Wakes readers.
    pub bell: Bell,
    /// The time.
    pub clock: Clock,
    /// Opens page tokens.
    pub seal: SealKey,
    /// Facebook, or the simulator.
    pub graph: Arc<Graph>,
    /// Where files are.
    pub media: Media,
    /// Who may call a Page now.
    pub pace: pacing::Pace,
}

/// What a call for a Page needs.
#[derive(Debug)]
pub(crate) struct PageKeys {
    pub token: Secret,
    pub app_secret: Secret,
}

impl Outgoing {
    /// Opens a Page's token and its app's secret.
    pub(crate) fn open(&self, tenant: TenantId, page: &store::SealedPage) -> Result<PageKeys, crate::seal::SealError> {
        let token = self.seal.open(tenant, page.widget.0, "page_token", &page.page_token)?;
        let app_secret = self.seal.open(page.app_owner, page.app.0, "app_secret", &page.app_secret)?;
        Ok(PageKeys { token, app_secret })
    }
}
