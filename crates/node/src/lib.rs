//! One machine that keeps sandboxes.
//!
//! Each sandbox has a small supervisor of its own, the [`keeper`]: a process that outlives the
//! daemon, owns what must not die with it, and answers on a socket in the sandbox's [folder].
//! The daemon's side is [`Local`], a [`Node`](casemate_core::node::Node): it starts keepers, asks
//! things of them, and finds those again that an earlier daemon left.
//!
//! ```text
//!  daemon ── Local ──┬── control.sock ──▶ keeper ── jail ──▶ init, agent, programs
//!                    └── agent.sock ────────────────────────────▶ agent
//! ```
//!
//! Nothing that a keeper or an agent says is trusted for more than the sandbox that it is about.

pub mod folder;
pub mod keeper;
mod local;

pub use local::{Check, Handle, Local, Settings};
