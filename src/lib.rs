//! Chatgate: a contact-center chat gateway.

// Ground.
pub mod clock;
pub mod ids;
pub mod seal;
pub mod secret;

// Bytes and events.
pub mod channels;

// A pretend neighbour.
pub mod simulator;
