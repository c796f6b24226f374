//! A worker's half: a guest in a process of its own, and what it says to the controller.
//!
//! ```text
//!  control socket: OPEN with descriptors (module, heap, stable memory) ──▶
//!                  ◀── SEALED: the module is mapped, and nothing else can be
//!                  RING with its descriptor ──▶
//!                  ◀── OPENED with the addresses at which the controller reads pages
//!  ring:           number · request ──▶        ◀── number · Ran · pages that were written
//! ```
//!
//! Everything after the first instruction of the guest is by the ring; page bytes never are: the
//! controller takes them out of this process's memory while it waits for its next request.
//!
//! - [`message`]: what is said, in both directions
//! - [`forge`]: the same by hand, for tests of a worker that lies
//! - [`life`]: the worker, as a [`Runtime`](crate::process::Runtime)

#[doc(hidden)]
pub mod forge;
mod life;
pub(crate) mod message;

pub use life::Wasm;
