//! The process wall: runs one program in namespaces of its own, behind Landlock and seccomp.
//!
//! ```text
//!  spec ──▶ plan ──clone3──▶ inside::init (pid 1) ──fork──▶ inside::payload ──exec──▶ the program
//!            │                   │ mounts, hostname, lo         │ capabilities, Landlock,
//!            │                   │ reaps, forwards signals      │ seccomp, execve
//!            ▼                   │                              │
//!         supervisor ◀─channel───┴──────── notifier ────────────┘
//!           terminal, limits, notifier, carriers, report
//! ```
//!
//! The *plan* is made outside, before anything runs: every path is resolved, every error that
//! can be found early is found, and nothing of the host is touched. *Inside* builds the view
//! from the plan and lets go of every privilege, in an order in which each step needs the one
//! before. The *supervisor* is the caller's process: it stays outside, and if it dies, the
//! kernel kills the pid namespace's init and with it everything inside.
//!
//! Nothing here is unsafe; `casemate-sys` is the door to the kernel.

mod callers;
pub mod gate;
mod inside;
pub mod layers;
mod plan;
mod proc;
pub mod stay;
mod supervisor;
mod wire;

pub use casemate_sys::process::early::HeadStart;
pub use plan::Plan;
pub use supervisor::{Finished, run, run_given, run_staying};
