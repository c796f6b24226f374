//! What is measured: samples of what sandboxes use, lines of what happened to them, and numbers for
//! Prometheus. All of it is bounded, and in memory only.

mod lines;
mod numbers;
mod samples;
mod team;

pub use lines::{Level, Line};
pub(crate) use lines::{Lines, Wanted};
pub(crate) use numbers::{Numbers, Step};
pub use samples::Sample;
pub(crate) use samples::Samples;
pub(crate) use team::{Team, TeamSample};
