//! What is written down: every connection, every request, every refusal.
//!
//! An [`Event`] is made once, where something is decided, and written in two forms: a line of OCSF
//! JSON for machines, and a short line for people.
//!
//! ```text
//! Event::network(Open) ── .denied() .by("github", "opa") .to(host, port) ──▶ to_json() / line()
//! ```
//!
//! What an event says comes from the sandbox in part (names, paths, command lines). It's cut to a
//! length, and never reaches a terminal with control characters in it.

mod event;
mod line;
pub mod ocsf;
mod process;

pub use event::{Event, Outcome, Severity};
pub use process::{Ancestor, Process};
