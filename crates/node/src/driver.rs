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
//!  after a restart:                              Driver::left ──▶ Driver::attach ───────┤
//!  one that rests on disk:                         pause ──▶ Driver::wake ──▶ up, own ──┘
//! ```
//!
//! A [`Body`] that is dropped goes on: sandboxes outlive the daemon. Who makes one and can't give
//! it to anybody cuts it, and waits for [`Body::ended`].

use casemate_core::error::Result;
use casemate_core::node::{Door, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
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

    /// Whether what is paused can rest on disk.
    fn stores(&self) -> bool;

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

    /// Begins to continue one that rests on disk, which goes on resting there if this fails; at most
    /// so much of it as is kept. It rests again if it ends before it's somebody's ([`Body::own`]).
    ///
    /// # Errors
    /// What failed.
    fn wake(&self, id: &SandboxId, wish: &Wish, keep: Keep) -> Result<Arc<dyn Body>>;

    /// Removes one that rests on disk.
    fn remove(&self, id: &SandboxId);

    /// What was written of sandboxes.
    fn snapshots(&self) -> Vec<SnapshotId>;

    /// Removes one of these.
    ///
    /// # Errors
    /// What is still there of it is no snapshot any more.
    fn discard(&self, name: &SnapshotId) -> Result<(), Refusal>;
}

/// Where a sandbox is that is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// In memory.
    Held,
    /// On disk: its body has no more use.
    Stored,
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parting {
    /// For good. What its last words were, if there are any.
    Over(String),
    /// What it was is on disk.
    Stored,
}

/// A sandbox that was taken over.
pub struct Attached {
    /// It, unless it rests on disk.
    pub body: Option<Arc<dyn Body>>,
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

    /// Stops everything. What doesn't rest in memory has ended when this answers.
    fn pause(&self, keep: Keep) -> Reply<'_, Rest>;

    /// Continues it.
    fn resume(&self) -> Reply<'_, ()>;

    /// Writes it as it stands under a name, whole or not at all, and lets it go on.
    fn snapshot<'a>(&'a self, name: &'a SnapshotId, keep: Keep) -> Reply<'a, ()>;

    /// Replaces where it may connect to.
    fn restrict<'a>(&'a self, outward: &'a Outward) -> Reply<'a, ()>;

    /// What it uses.
    fn usage(&self) -> Reply<'_, Usage>;

    /// Tells it to end in good order, and doesn't wait.
    fn end(&self) -> Reply<'_, ()>;

    /// Ends it at once, whatever state it is in, and doesn't wait.
    fn cut(&self);

    /// Waits for its end, however that comes, and removes what is left of one that is over. One
    /// caller, once.
    fn ended(&self) -> Reply<'_, Parting>;
}
