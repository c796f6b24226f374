//! A worker's half: a guest in a process of its own, and what it says to the controller.
//!
//! ```text
//!  control socket: OPEN with descriptors (module, heap, stable memory) ──▶
//!                  ◀── SEALED: the module is mapped, and nothing else can be
//!                  RINGS with their descriptors ──▶
//!                  ◀── OPENED with the addresses at which the controller reads pages
//!  ring:           number · request ──▶        ◀── number · Ran · pages that were written
//!                  between two slices of a call: ◀── number · where it waits
//!                  number · whether it goes on ──▶
//!                  before a query's request: what a composite query left ──▶
//! ```
//!
//! Everything after the first instruction of the guest is by the ring. Pages that were written the
//! controller takes out of this process's memory while it waits for its next request; the ring has
//! bytes of pages only where a composite query goes on.
//!
//! - [`message`]: what is said, in both directions
//! - [`forge`]: the same by hand, for tests of a worker that lies
//! - [`line`]: a ring, and what is said by it: one for updates, and one for each thread of [`queries`]
//! - [`life`]: the worker, as a [`Runtime`](crate::process::Runtime)

#[doc(hidden)]
pub mod forge;
mod life;
mod line;
pub(crate) mod message;
mod queries;

pub use life::Wasm;

/// How many queries of a canister run at once.
pub const QUERIES: usize = 2;
