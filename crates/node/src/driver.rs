//! What keeps sandboxes of one kind: processes behind the wall today, virtual machines another
//! day.
//!
//! [`Local`](crate::Local) knows nothing else of a sandbox. Its states, the table and the pool are
//! the same for every kind.
//!
//! ```text
//!  Driver::ready ──▶ start ──▶ up ──▶ name ──▶ restrict, dial (the agent is told whose it is) ──▶ own
//!                     │       │                                                         │
//!                     └───────┴──────▶ cut ──▶ ended ◀── end ◀── dial, pause, usage … ◀─┤
//!                                                                                       │
//!  after a restart:                              Driver::left ──▶ Driver::attach ───────┘
//! ```
//!
//! A [`Body`] that is dropped goes on: sandboxes outlive the daemon. Who makes one and can't give
//! it to anybody cuts it, and waits for [`Body::ended`].

use casemate_core::error::Result;
use casemate_core::node::{Door, Refusal, Reply};
use casemate_core::sandbox::{Outward, SandboxId, Usage, Wish};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Makes sandboxes of one kind, and finds them again.
pub trait Driver: Send + Sync {
    /// Whether this could be done, before anything is.
    ///
    /// # Errors
    /// What is wrong with the wish.
    fn check(&self, wish: &Wish) -> Result<(), Refusal>;

    /// How long a sandbox may take to come up.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// Waits for what all sandboxes need and may still be in the making.
    fn ready(&self) -> Reply<'_, ()>;

    /// The same for another network of one that is there.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_network(&self, outward: &Outward) -> Result<(), Refusal>;

    /// Begins to make a sandbox. A failure leaves nothing behind.
    ///
    /// # Errors
    /// What failed.
    fn start(&self, id: &SandboxId, wish: &Wish) -> Result<Arc<dyn Body>>;

    /// What may be left of sandboxes that an earlier daemon had.
    fn left(&self) -> Vec<SandboxId>;

    /// Takes one of them over. Of one that has ended, or was nobody's, the rest is removed.
    fn attach<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Option<Attached>>;
}

/// A sandbox that was taken over.
pub struct Attached {
    /// It.
    pub body: Arc<dyn Body>,
    /// Whether its programs are stopped.
    pub paused: bool,
}

/// One sandbox.
pub trait Body: Send + Sync {
    /// Waits until it is up.
    fn up(&self) -> Reply<'_, ()>;

    /// Gives it the id and the wish of whoever gets it, which the driver finds it by.
    ///
    /// # Errors
    /// They can't be written down.
    fn name(&self, id: &SandboxId, wish: &Wish) -> Result<()>;

    /// Makes it somebody's: from now on it outlives the daemon.
    ///
    /// # Errors
    /// That can't be written down.
    fn own(&self) -> Result<()>;

    /// Whether it hasn't ended.
    fn lives(&self) -> bool;

    /// A stream to something in it.
    fn dial(&self, to: Door) -> Reply<'_, OwnedFd>;

    /// Stops everything.
    fn pause(&self) -> Reply<'_, ()>;

    /// Continues it.
    fn resume(&self) -> Reply<'_, ()>;

    /// Replaces where it may connect to.
    fn restrict<'a>(&'a self, outward: &'a Outward) -> Reply<'a, ()>;

    /// What it uses.
    fn usage(&self) -> Reply<'_, Usage>;

    /// Tells it to end in good order, and doesn't wait.
    fn end(&self) -> Reply<'_, ()>;

    /// Ends it at once, whatever state it is in, and doesn't wait.
    fn cut(&self);

    /// Waits for its end, however that comes, and removes what is left of it. What its last words
    /// were, if there are any. One caller, once.
    fn ended(&self) -> Reply<'_, String>;
}
