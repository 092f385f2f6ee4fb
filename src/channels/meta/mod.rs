//! What all of Meta's products share: signed webhooks coming in, the Graph API going out.

pub mod envelope;
pub mod handshake;
pub mod signature;

pub mod errors;
pub mod graph;
pub mod usage;
pub mod verdict;

mod codes;
pub(crate) mod json;
