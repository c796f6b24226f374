//! A Wasm program that is run once: `casemate wasm run`.
//!
//! ```text
//!  controller ── sheet: job, module ──▶ process of the guest, behind the process wall
//!   (never looks       │                   compile ──▶ link ──▶ instantiate ──▶ call
//!    into a module)    ◀── verdict ────────────────────────────────────────────┘
//! ```
//!
//! Two processes know each other by one [`Sheet`] of memory. The controller writes a [`Job`] and the
//! module's bytes on it and hands it to the wall; [`run`] is the other side, which compiles and runs
//! the module and writes a [`Verdict`]. What it says is the word of a process that the guest may
//! have taken over: it is bounded, and it decides about nothing but what the caller is told.
//!
//! - [`job`]: what is asked for; [`verdict`]: how it ended; [`sheet`]: the memory that both see
//! - [`engine`]: wasmtime as it is set up here; [`gauge`]: memory, counted and limited
//! - [`world`]: what WASI shows a guest: folders, clocks, randomness
//! - [`module`], [`component`]: from bytes to something that can be linked, or a complaint
//! - [`program`]: what can be called; [`confine`]: what is given up before it is
//! - [`invoke`]: calling an export with words of a command line
//! - [`end`]: what wasmtime's errors mean

mod component;
mod confine;
mod end;
mod engine;
mod gauge;
mod invoke;
mod job;
mod module;
mod program;
mod run;
mod sheet;
mod verdict;
mod world;

pub use job::{Folder, Invocation, Job, Moment};
pub use run::run;
pub use sheet::{MODULE_MOST, Phase, Sheet};
pub use verdict::{Complaint, End, Frame, Verdict};
