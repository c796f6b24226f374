//! System calls: an allow-list, and a notifier for the few that need a decision.
//!
//! ```text
//!  profile   what is allowed, what is refused and with which errno, in groups with reasons
//!     │
//!  program   the profile as a classic BPF program: a binary search over the call numbers
//!     │
//!  install   the kernel takes it; with a listener, some refusals are asked for, not dropped
//!     │
//!  listener  the supervisor's end: reads the call, answers with a result or an errno
//! ```
//!
//! [`code`] is a second filter, for a process that compiles: when it has, it takes no more. [`holes`]
//! is one for a process that maps what others read.
//!
//! Whatever isn't in the list is ENOSYS, as on a kernel that doesn't have it: programs know how
//! to live with that. The same is true of foreign call tables (i386, x32), so the number of a
//! call always means what the profile thinks.

mod code;
pub mod fence;
pub mod guest;
mod holes;
mod install;
mod listener;
mod profile;
mod program;

pub use code::NO_NEW_CODE;
pub use holes::NO_HOLES;
pub use install::{install, install_on_all_threads};
pub use listener::{Listener, Notification, Request};
pub use profile::{Action, Profile, evaluate, name};
pub use program::{Instruction, STAY, assemble};
