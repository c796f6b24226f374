//! The seam between the control plane and the machines that keep sandboxes.
//!
//! The control plane and the gateway know a [`Node`] and never what is behind it: the same
//! process, another machine, or a simulation.

use crate::error::Error;
use crate::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

/// An answer that takes a while.
pub type Reply<'a, T, E = Refusal> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A machine that keeps sandboxes.
pub trait Node: Send + Sync {
    /// Makes a sandbox; the answer comes when its agent does.
    fn create<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish) -> Reply<'a, ()>;

    /// Ends a sandbox and everything in it. Answers when nothing of it is left.
    fn kill<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()>;

    /// Whether sandboxes can rest on disk: with their files alone, or with their memory.
    fn stores(&self) -> bool;

    /// Stops everything that runs in a sandbox.
    fn pause<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> Reply<'a, ()>;

    /// Continues what was stopped, with what it is to be by now; at most so much of it as is kept.
    fn resume<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish, keep: Keep) -> Reply<'a, ()>;

    /// Waits for a word of its agent.
    fn greet<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()>;

    /// Writes a sandbox as it stands under a name that nothing has yet, whole or not at all; it goes
    /// on as before. Others can be made from that ([`Wish::from`]).
    fn snapshot<'a>(&'a self, id: &'a SandboxId, name: &'a SnapshotId, keep: Keep)
    -> Reply<'a, ()>;

    /// Removes a snapshot. What was made from it isn't touched.
    fn discard<'a>(&'a self, name: &'a SnapshotId) -> Reply<'a, ()>;

    /// The snapshots that are kept here.
    fn snapshots(&self) -> Reply<'_, Vec<SnapshotId>>;

    /// Replaces where a sandbox may connect to.
    fn restrict<'a>(&'a self, id: &'a SandboxId, outward: &'a Outward) -> Reply<'a, ()>;

    /// What a sandbox uses now.
    fn usage<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Usage>;

    /// A stream socket that is connected to something in a sandbox.
    fn dial<'a>(&'a self, id: &'a SandboxId, to: Door) -> Reply<'a, OwnedFd>;

    /// The sandboxes that are kept here.
    fn list(&self) -> Reply<'_, Vec<Kept>>;

    /// The next sandbox that ended without being told to. One caller at a time.
    fn ended(&self) -> Reply<'_, Ended>;
}

/// What is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// The guest agent.
    Agent,
    /// A TCP port that a program inside listens on, on loopback or any address.
    Port(u16),
}

/// A sandbox that a node keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub id: SandboxId,
    /// Whether its programs are stopped.
    pub paused: bool,
}

/// A sandbox that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub id: SandboxId,
    /// Why: a sentence for its owner.
    pub why: String,
}

/// Why a node didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It keeps no such sandbox.
    Unknown,
    /// There is no such template.
    NoTemplate(String),
    /// The wish can't be fulfilled as it stands; the text names the field.
    Invalid(String),
    /// There is no such thing here.
    Unsupported(&'static str),
    /// The sandbox's state doesn't have this.
    State(crate::sandbox::lifecycle::Denied),
    /// Nothing listens on that port.
    Closed(u16),
    /// The machine is full.
    Full(String),
    /// It took longer than this.
    Slow(Duration),
    /// It was tried, and failed.
    Failed(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such sandbox"),
            Self::NoTemplate(name) => write!(f, "template '{name}' not found"),
            Self::Invalid(why) | Self::Full(why) => f.write_str(why),
            Self::Unsupported(what) => write!(f, "{what} is not supported here"),
            Self::State(denied) => denied.fmt(f),
            Self::Closed(port) => write!(f, "nothing listens on port {port}"),
            Self::Slow(after) => write!(f, "no answer after {after:?}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::sandbox::lifecycle::Denied> for Refusal {
    fn from(denied: crate::sandbox::lifecycle::Denied) -> Self {
        Self::State(denied)
    }
}
