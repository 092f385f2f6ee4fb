//! The harness: a world with a gateway, a pretend Facebook, people who work and people who write.

pub mod api;
pub mod cluster;
pub mod logs;
pub mod world;

pub use api::Api;
pub use world::{World, story};
