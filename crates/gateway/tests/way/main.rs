//! The way in, as clients and programs in sandboxes see it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod agent;
mod browsers;
mod faults;
mod folders;
mod framing;
mod heads;
mod life;
mod routes;
mod secure;
mod upgrades;
mod world;
