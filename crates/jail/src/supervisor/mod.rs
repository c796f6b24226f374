//! The supervisor: the caller's process, which stays outside.
//!
//! It prepares what must exist before the sandbox does (limits, the terminal, a channel), makes
//! the sandbox, and then waits in one loop for whatever comes: the sandbox's own events, signals
//! to forward, system calls to decide, terminal traffic, new files at protected names, and the
//! clock. One thread, one process; a thread of its own is only given to a connect(2) that may
//! block.
//!
//! ```text
//!  start ──▶ serve ──▶ finish
//! ```
//!
//! - [`start`]: what is prepared, and the clone; [`serve`]: the loop; [`finish`]: how it ended
//! - [`asked`]: what is asked of a sandbox that stays
//! - [`terminal`]: streams, pseudo-terminal, raw mode
//! - [`notifier`]: system calls that the filter hands over
//! - [`tracer`]: who may hold up others at their end
//! - [`watch`]: limits: who holds each, and whether one was reached
//! - [`casualties`]: whom a limit costs its life in a sandbox that stays
//! - [`pace`]: how often it is counted what a sandbox uses that stays
//! - [`processors`]: a limit on processor time where there is no cgroup for it
//! - [`late`]: a cgroup that is entered after the start
//! - [`guard`]: names that must not appear in a workspace
//! - [`account`]: the report

mod account;
mod asked;
mod casualties;
mod finish;
mod guard;
mod late;
mod notifier;
mod pace;
mod processors;
mod serve;
mod start;
mod terminal;
mod tracer;
mod watch;

pub use finish::Finished;
pub(crate) use processors::Processors;
pub use start::{run, run_given, run_staying};

use crate::gate::Gate;
use crate::plan::Plan;
use crate::stay::{Request, Stay};
use casemate_core::limits::Reached;
use casemate_sys::channel::Channel;
use casemate_sys::process::Child;
use casemate_sys::process::early::HeadStart;
use casemate_sys::signal::Signals;
use guard::Guard;
use notifier::Notifier;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::time::Instant;
use terminal::Terminal;
use watch::Watch;

/// A run that is under way.
struct Supervisor<'a> {
    plan: &'a Plan,
    channel: Channel,
    init: Child,
    /// What made init, until it is reaped: it counts as one of the sandbox's processes.
    head_start: Option<HeadStart>,
    signals: Signals,
    terminal: Terminal,
    watch: Watch,
    guard: Guard,
    /// Who decides on connections, with [`Network::Policy`](casemate_core::spec::Network).
    gate: Option<&'a mut dyn Gate>,
    notifier: Option<Notifier>,
    /// The sandbox's sock_diag socket and root, which the notifier needs.
    diag: Option<OwnedFd>,
    root: Option<OwnedFd>,
    /// Devices that nobody outside can reach: the new root's, and the private disk's.
    private: Vec<u64>,
    /// The guard's signal arrived.
    look: bool,
    /// How often counters were looked at.
    checks: u32,
    /// A limit was reached, or the caller sent a signal that ends programs: what the program
    /// still has to say isn't waited for.
    told_to_end: bool,
    stopped: Option<Reached>,
    ended: Option<Instant>,
    started: Instant,
    /// What is asked by others, if the sandbox stays.
    stay: Option<Stay>,
    /// Those who wait for init, in the order of its answers.
    asked: VecDeque<Request>,
}
