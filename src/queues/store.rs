//! SQL of queues.

pub mod assign;
pub mod board;
pub mod moves;
pub mod presence;
pub mod settings;
pub mod story;
pub mod timers;
