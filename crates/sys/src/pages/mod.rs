//! The memory of a canister: where it is kept, how it is lent, what was written to it, and how that
//! comes back.
//!
//! ```text
//!   controller                                     worker (hostile)
//!   ──────────                                     ────────────────
//!   Committed ── reader() ── a descriptor that ──► Region: a private mapping of it
//!      │          only reads, sent once               │  the guest writes: the kernel copies
//!      │                                              │  the page, and no handler runs
//!   Mapped ◄── Source::pull(runs) ◄── runs ────────── Tracker: which pages were written
//!      the pages come straight                        │
//!      out of the worker's memory                   Region::forget: what is rolled back
//! ```
//!
//! Page `i` of a canister is page `i` of its file: there is no table of what lies where, and nothing
//! to forge in one. The worker never has a file that it could write. A page that it has written is
//! an anonymous one, which the kernel knows to tell from a page of the file; that is the whole
//! tracking ([`tracker`]), and write protection only comes in when a page that was committed is to
//! be noticed again ([`userfault`]). What the worker says of its own memory can only be wrong about
//! its own memory.
//!
//! - [`file`](mod@file): [`Committed`], the memory itself, and [`Mapped`], a window into it
//! - [`sealed`]: what is written once and then never changes, as modules and messages
//! - [`region`]: addresses with guards around them, into which files are mapped
//! - [`userfault`], [`pagemap`], [`tracker`]: what was written; [`runs`]: how that is said
//! - [`remote`]: reading another process's memory
//! - [`ring`]: calls between two processes that don't trust each other
//! - `kin`: what must not be used in a process that was forked since
//!
//! All numbers are pages of [`PAGE`] bytes, so nothing can lie across two of them.

mod error;
pub mod file;
mod kin;
pub mod pagemap;
pub mod region;
pub mod remote;
pub mod ring;
pub mod runs;
pub mod sealed;
#[cfg(test)]
mod testing;
pub mod tracker;
pub mod userfault;

pub use error::Error;
pub use file::{Committed, Mapped, Reader};
pub use pagemap::PageMap;
pub use region::Region;
pub use runs::{Run, Runs};
pub use sealed::{Draft, Sealed};
pub use tracker::{Method, Tracker};
pub use userfault::Userfault;

/// The size of a page, bytes: that of the processors this program is for.
pub const PAGE: usize = 4096;
