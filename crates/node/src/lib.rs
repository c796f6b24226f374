//! One machine that keeps sandboxes.
//!
//! [`Local`] is a [`Node`](casemate_core::node::Node): it knows which sandboxes there are, what state
//! each is in, and what may be asked of it then. How a sandbox is made and what it is made of is a
//! [`Driver`]'s business.
//!
//! The [`Wall`] is the driver of process sandboxes. Each has a small supervisor of its own, the
//! [`keeper`]: a process that outlives the daemon, owns what must not die with it, and answers on a
//! socket in the sandbox's [folder].
//!
//! ```text
//!  daemon ── Local ── Wall ──┬── control.sock ──▶ keeper ── jail ──▶ init, agent, programs
//!                            └── agent.sock ────────────────────────────▶ agent
//! ```
//!
//! Nothing that a keeper or an agent says is trusted for more than the sandbox that it is about.

pub mod driver;
pub mod folder;
pub mod keeper;
mod local;
mod wall;

pub use driver::{Body, Driver};
pub use keeper::Accelerator;
pub use local::{Handle, Local};
pub use wall::{Check, Machines, Settings, Wall, base, hatch};
