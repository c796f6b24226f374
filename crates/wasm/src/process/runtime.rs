//! What runs in the processes: the part that knows Wasm.
//!
//! This module's neighbours make processes and close them in; a [`Runtime`] lives in them.

use super::inside::Confined;
use casemate_core::error::{Error, Result};
use casemate_sys::Errno;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};

/// The four moments at which a process is handed over.
pub trait Runtime {
    /// What all workers have in common.
    type Shared;
    /// What a worker opened for itself.
    type Opened;

    /// In the launcher, once, before there is any worker: what all of them need, and nothing of a
    /// guest. Workers are copies of what is left behind: a seed that is drawn here is the seed of all,
    /// so randomness is for `open`. A descriptor that is opened here isn't open in them. No thread may
    /// be left.
    ///
    /// # Errors
    /// The tree isn't started, and the controller is told why.
    fn prepare(&self, config: &[u8]) -> Result<Self::Shared>;

    /// In each worker, before it is closed in: opens what can't be opened later.
    ///
    /// # Errors
    /// The worker ends, and the controller is told why.
    fn open(&self, shared: &Self::Shared, doors: &Doors<'_>) -> Result<Self::Opened>;

    /// The descriptors of what was opened; all others but the control socket and the standard streams
    /// are closed.
    fn keeps<'a>(&self, opened: &'a Self::Opened) -> Vec<BorrowedFd<'a>>;

    /// A worker's life, closed in. Returns its exit status.
    fn work(&self, shared: &Self::Shared, opened: Self::Opened, worker: Confined) -> i32;

    /// A compiler's life, closed in: reads the guest's bytes, writes what it made of them.
    ///
    /// # Errors
    /// What is wrong with the guest, for its author.
    fn compile(&self, shared: &Self::Shared, job: &Job) -> Result<(), String>;
}

/// The ways out that a worker still has while it opens things.
pub struct Doors<'a> {
    pub(super) proc: BorrowedFd<'a>,
}

impl Doors<'_> {
    /// This process's own page map (proc(5)). One from before the fork would show the launcher's.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn pagemap(&self) -> Result<OwnedFd> {
        self.own("pagemap", OFlags::RDONLY)
    }

    /// A file of this process in /proc.
    pub(super) fn own(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let path = format!("self/{name}");
        openat(
            self.proc,
            path.as_str(),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno: Errno| {
            Error::errno("open", errno.raw_os_error()).on(format!("/proc/{path}"))
        })
    }
}

/// What is to be compiled.
pub struct Job {
    /// The guest's bytes: a file that nobody can change.
    pub input: OwnedFd,
    /// Where the result goes: an empty file.
    pub output: OwnedFd,
}
