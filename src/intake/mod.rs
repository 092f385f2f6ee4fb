//! Webhooks in: [`accept`] promises with one durable write, [`apply`] keeps the promise.

pub mod accept;
pub mod apply;
mod familiar;
pub mod ledger;
mod line;
pub mod meter;
pub mod notes;
mod outcomes;
mod short;
pub mod store;
pub mod strands;

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// Parts into which a tenant's senders are divided; each is applied by one worker at a time, in whichever process. More parts than
/// workers, so that a slow one holds up few.
pub const SHARDS: u8 = 16;

/// Outcome of an item that is about something else than a Page.
pub const OTHER_OBJECT: &str = "another object than page";

/// The shard of a sender's items. Stable over versions and processes, because it is stored.
#[must_use]
pub fn shard(page_id: &str, sender: &str) -> i16 {
    let digest = Sha256::new().chain_update(page_id).chain_update([0]).chain_update(sender).finalize();
    i16::from(digest[0] % SHARDS)
}

/// One item about to be written down.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the same names")]
pub struct NewItem {
    pub id: crate::ids::ItemId,
    pub owner: crate::ids::TenantId,
    pub app: crate::ids::MetaAppId,
    pub shard: i16,
    pub lane: &'static str,
    pub page_id: String,
    pub sender: String,
    pub kind: Cow<'static, str>,
    pub state: Option<&'static str>,
    pub outcome: Option<&'static str>,
    pub raw: Vec<u8>,
    pub entry_time: Option<i64>,
    pub received_at: crate::clock::Moment,
    /// What it says, if it is a message of which there is no more to be said: it may go the short way.
    pub plain: Option<Box<Plain>>,
}

/// A message that is nothing but text.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of the same names of `Inbound`")]
pub struct Plain {
    pub external_id: String,
    pub at: crate::clock::Moment,
    pub content: crate::channels::Content,
}
