//! A worker, from the controller's side: one process that belongs to whoever holds this.

use super::death::History;
use super::ledger::Slot;
use super::tree::Handed;
use super::{Death, Failure, Obituary};
use crate::lifecycle::resident;
use crate::wire::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most that is told of a worker's standard error, bytes.
const LONGEST_STDERR: usize = 16 << 10;

/// A worker. It is killed when this is dropped.
pub struct Worker {
    pid: Option<i32>,
    pidfd: OwnedFd,
    /// To it. What comes from there may be anything.
    pub connection: Connection,
    stderr: OwnedFd,
    slot: Arc<Slot>,
    history: Mutex<History>,
    said: Mutex<Vec<u8>>,
}

impl Worker {
    /// Of a process that has said its first words.
    ///
    /// # Errors
    /// It is dead already, and so no worker.
    pub(super) fn of(handed: Handed, who: &'static str) -> Result<Self, Failure> {
        match handed.pid {
            Some(_) => Ok(Self::of_any(handed)),
            None => Err(Failure::Ended(who)),
        }
    }

    /// Of one that may have done all that it was for, and be gone: a compiler.
    pub(super) fn of_any(handed: Handed) -> Self {
        Self {
            pid: handed.pid,
            pidfd: handed.pidfd,
            connection: handed.connection,
            stderr: handed.stderr,
            slot: handed.slot,
            history: Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// Its process id, as this process sees it, for process_vm_readv(2): there is no such call for
    /// pidfds. It stays the worker's own until the worker is dead.
    pub fn pid(&self) -> i32 {
        // Nobody has 0.
        self.pid.unwrap_or_default()
    }

    /// A descriptor that stays with this very process, readable when it has ended (pidfd_open(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Remembers what it is asked now, as a short text.
    pub fn note(&self, request: &str) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.note(request);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        // One that is gone needs no signal.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// True once it has ended. As long as it hasn't, its process id is its own.
    pub fn has_ended(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        !matches!(poll(&mut watched, Some(&now)), Ok(0))
    }

    /// Its memory, bytes; `None` once it has ended.
    pub fn resident(&self) -> Option<u64> {
        resident(self.pid(), || self.has_ended())
    }

    /// How it ended, if that is known by then.
    pub fn wait(&self, patience: Duration) -> Option<Death> {
        self.slot.wait(patience)
    }

    /// Calls this when it has ended, from another thread; at once if it has.
    pub fn at_end(&self, told: impl FnOnce() + Send + 'static) {
        self.slot.tell(told);
    }

    /// What it wrote to standard error since it was asked last, as it is.
    pub fn read_stderr(&self) -> Vec<u8> {
        let mut bytes = vec![0; LONGEST_STDERR];
        // Its end doesn't wait either; this end is its own, made non-blocking here.
        let flags = rustix::fs::OFlags::NONBLOCK;
        let read = rustix::fs::fcntl_setfl(&self.stderr, flags)
            .and_then(|()| rustix::io::read(&self.stderr, &mut bytes[..]));
        bytes.truncate(read.unwrap_or_default());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LONGEST_STDERR.saturating_sub(said.len());
        said.extend(bytes.iter().take(room));
        bytes
    }

    /// What is to be said of it, for a log.
    pub fn obituary(&self) -> Obituary {
        self.read_stderr();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said);
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = said.lines().map(|line| line.escape_debug().to_string());
        Obituary {
            pid: self.pid,
            death: self.slot.wait(Duration::ZERO),
            requests: history.requests(),
            stderr: lines.collect::<Vec<_>>().join("\n"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
