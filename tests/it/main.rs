//! Stories told through the doors: a real PostgreSQL, a real HTTP server, the simulator as Facebook. Time moves by `clock`, work by
//! `settle()`.

mod support;

mod crash;
mod doors;
mod events;
mod floors;
mod intake;
mod replies;
mod routing;
mod walk;
