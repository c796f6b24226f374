//! The processes of the Wasm wall, and what they can't do. What runs in them is a [`Runtime`].
//!
//! ```text
//!  controller ──exec──▶ entry ──clone(CLONE_PARENT)──▶ gone
//!      ║                  └─▶ keeper      process 1 of a pid namespace, in a user, mount, network,
//!      ║                        │         IPC, host name, cgroup and time namespace; reaps
//!      ╠══════ orders ═════▶ launcher     one thread, the runtime ready in it; keeps a pool
//!      ║                        │ fork
//!      ╠══════ frames ═════▶ worker       one guest for life; a pid namespace of its own
//!      ╚══════ frames ═════▶ compiler     one job
//! ```
//!
//! All of them are one program, told apart by its arguments ([`role()`]). The controller never looks
//! into a guest's bytes; whoever does is behind the wall (`inside/confine.rs` has its order), and is taken for
//! hostile from its first byte on: what it says is decoded with bounds ([`crate::wire`]), and if it makes
//! no sense, that process is killed and nothing else is touched.
//!
//! **Who dies with whom.** The keeper dies with the controller, and with the keeper, the kernel ends
//! everything in its pid namespace: kill -9 of the controller leaves nothing. A dead launcher costs no
//! worker: they become the keeper's children, which reaps them, and the controller starts another tree
//! when it next needs a process. A dead worker costs the call that runs in it. Whoever reaps a process
//! reports how it died ([`Obituary`]), and who waits for a word of it is told at once.
//!
//! **What a worker is.** A copy of the launcher, so it starts in a fraction of a millisecond and shares
//! the launcher's memory until it writes. For the same reason, all workers of a launcher have the same
//! addresses, and the same seeds unless the runtime draws new ones.
//!
//! **Clocks.** The processes have a time namespace of their own: CLOCK_MONOTONIC and CLOCK_BOOTTIME
//! there are not the controller's, so a deadline crosses as a duration, or in CLOCK_REALTIME.

mod build;
mod compile;
mod death;
mod failure;
mod inside;
mod ledger;
mod order;
mod processes;
mod role;
mod runtime;
mod spec;
mod start;
mod tree;
mod worker;

pub use build::BuildId;
pub use compile::Uncompiled;
pub use death::{Death, Obituary, REMEMBERED};
pub use failure::Failure;
pub use inside::{Confined, Sealed, kind};
pub use order::LONGEST_CONFIG;
pub use processes::Processes;
pub use role::role;
pub use runtime::{Doors, Job, Runtime};
pub use spec::{CompileLimits, Spec};
pub use worker::Worker;

use inside::LONGEST_REFUSAL;
