//! Messenger: an item of a webhook becomes an event, a message becomes Send API requests.

pub mod limits;
pub mod normalize;
pub mod plain;
pub mod send;
pub mod text;
pub mod window;

mod attachments;
mod time;
mod told;

#[cfg(test)]
pub(crate) mod walk;
