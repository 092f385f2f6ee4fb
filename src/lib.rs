//! Chatgate: a self-hosted, multi-tenant contact-center chat gateway.
//!
//! The modules in walking order of a message, then the floors they stand on. A module uses floors below its own, never its own or a
//! higher one; `tests/it/floors.rs` holds that.

// The doors, and the parts behind them.
pub mod app;
pub mod http;
pub mod simulator;

// The way in.
pub mod intake;

// Who is next, and the way out.
pub mod live;
pub mod queues;
pub mod replies;

// The floor, and what agents choose from while they answer.
pub mod desk;
pub mod rooms;

// Whose, who, where, when.
pub mod contacts;
pub mod hours;
pub mod media;
pub mod people;
pub mod tenants;
pub mod widgets;

// Bytes and events; who changed what.
pub mod audit;
pub mod channels;

// Ground.
pub mod check;
pub mod clock;
pub mod config;
pub mod crew;
pub mod db;
pub mod fair;
pub mod ids;
pub mod seal;
pub mod secret;
pub mod telemetry;
pub mod words;
