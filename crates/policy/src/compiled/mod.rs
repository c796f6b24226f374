//! The matcher: every decision about a connection and about what is said on it.
//!
//! ```text
//!            Target ──hosts──▶ endpoints by port ─┐
//!                                                 ├─ both ─▶ Grant ──request()──▶ RequestDecision
//!  Subject ──programs──▶ entries that list it ────┘   │
//!                                                     └─ neither: Denial, with what would allow it
//! ```
//!
//! It's made once from a [`Network`](crate::network::Network) and owns all that it needs, so a new policy is a pointer that
//! is swapped. Deciding takes no lock, and allowing takes no memory (up to 32 endpoints that all
//! match); only a denial, which has to be explained, is written down. What a decision costs depends
//! on how long the name and the paths are and on how much of the policy matches them, not on how
//! much of it doesn't.
//!
//! [`Subject`] is who: an entry that lists any of the executable and its ancestors is open to it.
//! [`Target`] is where. A [`Grant`] is the endpoints that are open to both; it knows which addresses
//! are fine, whether anything has to be read, and judges each [`Request`].

mod address;
mod automaton;
mod compile;
mod connect;
mod denial;
mod difference;
mod endpoint;
mod error;
mod explain;
mod glob;
mod grant;
mod hosts;
mod inline;
mod input;
mod judge;
mod methods;
mod name;
mod programs;
mod request;
mod resolve;
mod rule;
mod subject;

use std::collections::BTreeSet;

pub use address::Reach;
pub use connect::Decision;
pub use denial::{Closest, Denial, MissedBinary};
pub use difference::{Change, Effect, Said, diff};
pub use endpoint::Endpoint;
pub use error::CompileError;
pub use explain::{Explanation, Outcome, Step};
pub use grant::Grant;
pub(crate) use input::hex;
pub use input::input;
pub use judge::{DeniedRequest, RequestDecision};
pub use methods::WEBSOCKET_TEXT;
pub use request::{Graphql, Operation, Param, Params, Persisted, Request, Rpc};
pub use subject::{Ancestor, Subject, Target};

use crate::network::EntryLimits;

/// A policy that can be asked.
#[derive(Debug)]
pub struct Compiled {
    entries: Vec<Entry>,
    /// In the order of the entries.
    endpoints: Vec<Endpoint>,
    /// Of each endpoint, its entry: close together, since most decisions look at no more.
    owners: Vec<u32>,
    hosts: hosts::Hosts,
    programs: programs::Programs,
    resolvable: hosts::Hosts,
    unresolvable: hosts::Hosts,
}

/// What remains of an entry.
#[derive(Debug)]
struct Entry {
    name: String,
    limits: EntryLimits,
    /// Somebody may use it.
    has_binaries: bool,
    /// As the file has them, for explanations.
    binaries: BTreeSet<String>,
}
