//! Prepared modules, run for real.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod host;
mod hostile;
mod metering;
mod places;
mod prices;
mod program;
mod real;
mod reference;
mod refusals;
mod shape;
mod stable;
