//! Stories told through the doors: a real PostgreSQL, a real HTTP server, the simulator as Facebook. Time moves by `clock`, work by
//! `settle()`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

mod apply;
mod browser;
mod calls;
mod commands;
mod content;
mod crash;
mod desk;
mod doors;
mod events;
mod events_in;
mod fault_run;
mod floors;
mod fuzz;
mod intake;
mod known_bodies;
mod ledger;
mod live_board;
mod media;
mod model;
mod outage;
mod profiles;
mod replies;
mod replies_at_once;
mod replies_faults;
mod replies_reports;
mod routing;
mod routing_hours;
mod routing_overflow;
mod routing_settings;
mod routing_story;
mod routing_timers;
mod schema;
mod setup_pages;
mod setup_people;
mod short_way;
mod traps;
mod walk;
