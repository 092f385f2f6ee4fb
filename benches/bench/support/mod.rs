//! What all subjects need: a PostgreSQL, a gateway, a company to work for, and a table to print.

pub mod client;
pub mod cluster;
pub mod cpu;
pub mod furnish;
pub mod gateway;
pub mod machine;
pub mod table;
