//! Chatgate: a contact-center chat gateway.

// Ground.
pub mod clock;
pub mod ids;
pub mod seal;
pub mod secret;

// Pure rules that other floors ask.
pub mod hours;

// Bytes and events.
pub mod channels;
