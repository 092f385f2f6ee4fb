//! Chatgate: a self-hosted, multi-tenant contact-center chat gateway.
//!
//! The modules in walking order of a message, then the floors they stand on. A module uses floors below its own, never its own or a
//! higher one; `tests/it/floors.rs` holds that.

// The doors.
// pub mod http;

// The floor: rooms.
pub mod rooms;

// Who works here, and when.
pub mod hours;
pub mod people;

// Floor 1.
pub mod config;
pub mod crew;
pub mod db;
pub mod telemetry;

// Bytes and events.
pub mod channels;

// Ground.
pub mod clock;
pub mod ids;
pub mod seal;
pub mod secret;
