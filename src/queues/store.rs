//! SQL of queues.

pub mod assign;
pub mod moves;
pub mod presence;
