//! Prepared modules, run for real.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod host;
mod prices;
mod refusals;
mod shape;
mod stable;
