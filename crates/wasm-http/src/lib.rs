//! Canisters over HTTP: they are called, installed and looked at, and their web sites served.
//!
//! ```text
//!  client ─▶ rest ─▶ callers: who is it, may they ─▶ quota ─▶ room: a thread to wait in ─┐
//!  browser ─▶ site: as an `http_request` ──────────────────────────▶ room ───────────────┤
//!  command ─▶ local: a socket of the same user ─▶ rest                                   ▼
//!                                                                                 dyn Owner
//! ```
//!
//! An [`Owner`] has the canisters, and this crate never knows how: it is tested without running any.
//! [`Remote`] is an owner, too: the one in another process, reached over its socket. So a command
//! does the same whether the canisters are its own or a server's.
//!
//! A call takes a thread until it is answered, since its caller is blocked by a process beyond the
//! wall; so there is a bounded number of threads for that, of which one canister gets a share, and
//! who finds none waits in a bounded line ([`Settings`]). No call ever runs on the threads that
//! serve connections.

mod callers;
mod fault;
mod local;
mod numbers;
mod openapi;
mod owner;
mod phases;
mod quota;
mod rest;
mod room;
mod server;
mod settings;
mod site;
mod spool;

pub use callers::{Caller, Callers, Scope};
pub use fault::{Fault, Kind};
pub use local::{Listener, Remote};
pub use numbers::Numbers;
pub use owner::{
    Ask, Installation, Line, Measured, Method, Mode, Outcome, Owner, Replayed, Spread, Status,
    WorkerStatus,
};
pub use quota::Quotas;
pub use server::Server;
pub use settings::{Settings, Sites};
