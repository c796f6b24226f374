//! Who opened a connection: process, executable, digest, trust on first use.
//!
//! ```text
//!  thread id or pidfd
//!        │ process   pinned by its folder in /proc
//!        ▼
//!  executable, argv, parents          chain, argv, script
//!        │ fingerprint (device, inode, size, mtime, ctime)
//!        ▼
//!     digests ── cold: SHA-256, once for all who wait
//!        │
//!        ▼
//!      trust ── the first digest of a path is trusted, another one is refused until approved
//!        │ store   SQLite, shared by all processes of the user
//!        ▼
//!    Identity or Refusal
//! ```
//!
//! # Two doors
//!
//! [`Identifier::identify_warm`] hashes nothing, waits for nothing and never touches the store:
//! it may run on an async executor. What it can't answer goes to [`Identifier::identify`], which
//! reads a whole executable if it must, and belongs on a thread that may block:
//!
//! ```text
//! if let Some(identity) = identifier.identify_warm(subject) { return Ok(identity) }
//! tokio::task::spawn_blocking(move || identifier.identify(subject))
//! ```
//!
//! However many such threads there are, they hash in turns, a processor is left to everything
//! else, and where there is none to leave, all others come first (`background`); warm connections
//! wait for none of them. The crate itself has no executor and no pool.
//!
//! # What an identity is worth
//!
//! Path and digest of the executable come from the kernel and from the very bytes that run.
//! The arguments lie in the process's own memory, which it can overwrite, and with them the
//! script: they tell honest programs apart and are no wall. Neither sees a library, a preloaded
//! object or what an interpreter was fed with.

pub mod argv;
pub mod cache;
pub mod digest;
pub mod executable;
pub mod identify;
pub mod identity;
pub mod process;
pub mod refusal;
pub mod script;
pub mod shown;
pub mod store;
pub mod trust;

mod background;
mod bounded;
mod chain;
mod quiet;
mod turns;
mod wait;

pub use cache::Digests;
pub use digest::Digest;
pub use executable::{Executable, Fingerprint};
pub use identify::{Identifier, Subject, Work};
pub use identity::Identity;
pub use refusal::{Change, Refusal};
pub use shown::Shown;
pub use store::Store;
pub use trust::{Scope, Trust};
