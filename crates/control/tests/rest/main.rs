//! The REST interface over a simulated node and a clock that is moved by hand.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod sim;

mod absent;
mod admin;
mod create;
mod faults;
mod idempotency;
mod keys;
mod lifetime;
mod list;
mod logs;
mod metrics;
mod model;
mod network;
mod ours;
mod quotas;
mod races;
mod restart;
mod sdk;
mod snapshots;
mod way_in;
