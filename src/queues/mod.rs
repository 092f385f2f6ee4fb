//! Queues: who answers, and which widgets' rooms wait where.

pub mod settings;
pub mod store;
