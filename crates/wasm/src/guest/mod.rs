//! A canister's module, instantiated: the half of the wall that runs what a stranger wrote.
//!
//! ```text
//!  Image (compiled) ─┐
//!  Committed memory ─┼─▶ Guest ── run(Call) ──▶ Ran ──▶ dirty pages ──▶ whoever commits
//!  State (globals)  ─┘     │ heap, stable: private mappings of what is committed
//!                          │ ic0: answered here, from the call
//!                          └ a failure forgets the pages that were written
//! ```
//!
//! It is the same code in both executors: in a worker it is behind the wall, in the in-process one
//! it isn't. Nothing here talks to anybody: what a guest wants of the world is in [`Ran`].
//!
//! - [`engine`]: how modules are compiled and run; [`bundle`]: how they are kept
//! - [`api`]: the System API
//! - [`host`]: what the API knows and collects while a call runs
//! - [`memory`]: where heap and stable memory lie
//! - [`run`]: one call; [`slices`]: its instructions, a slice at a time
//! - [`trap`]: why one failed
//!
//! [`Ran`]: crate::call::Ran

mod api;
mod bundle;
mod engine;
mod host;
mod memory;
mod run;
mod slices;
mod trap;

pub use bundle::{Bundle, BundleError};
pub use engine::{Image, Machine, compile, settings};
pub(crate) use memory::PER_WASM_PAGE;
pub use memory::{Memories, State, Written};
pub use run::{Guest, Mode};
