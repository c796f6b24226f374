//! A sandbox that stays: its program is an agent that waits for orders, and others than the
//! program ask things of the supervisor.
//!
//! The supervisor has one loop in one thread. A [`Remote`] is how other threads of its process ask
//! it for something: a request is put in a queue, an eventfd(2) wakes the loop, and the answer
//! comes back through a queue of its own. What only init can do (make a socket in the sandbox's
//! network, stop every process) the loop asks of init, which answers in order.

use crate::proc::states;
use casemate_core::error::{Error, Result};
use casemate_core::sandbox::Usage;
use casemate_sys::freezer::Freezer;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer may take. Stopping waits for processes to leave the kernel.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait at one time; who asks more waits to ask.
const WAITING: usize = 64;
/// How often it is looked whether everything has stopped, and how long is waited in between.
const LOOKS: usize = 2000;
const PAUSE: Duration = Duration::from_millis(1);

/// What a sandbox that stays is given.
pub struct Stay {
    /// Its program.
    pub agent: Given,
    /// What is asked of it.
    pub requests: Requests,
    /// Called when the program is about to start and the supervisor may have threads.
    pub started: Option<Box<dyn FnOnce() -> Result<()>>>,
}

/// A program that is given by descriptor, so that it need not be in the view.
pub struct Given {
    /// The executable, wherever it is.
    pub program: OwnedFd,
    /// The one descriptor above 2 that it gets, at the same number as here.
    pub kept: OwnedFd,
}

/// Something that is asked of a supervisor.
pub(crate) enum Request {
    Sockets(SyncSender<Vec<OwnedFd>>),
    Proc(SyncSender<OwnedFd>),
    Freezer(SyncSender<Option<Freezer>>),
    Halt(SyncSender<()>),
    Continue(SyncSender<()>),
    Wake(i32),
    Usage(SyncSender<Usage>),
    End,
}

/// The supervisor's end.
pub struct Requests {
    queue: Receiver<Request>,
    wake: Arc<OwnedFd>,
}

/// Everybody else's end.
#[derive(Clone)]
pub struct Remote {
    queue: SyncSender<Request>,
    wake: Arc<OwnedFd>,
    /// Processes that somebody inside had stopped before everything was.
    stopped: Arc<Mutex<BTreeSet<i32>>>,
    /// What stopped everything, if that was not a signal.
    frozen: Arc<Mutex<Option<Freezer>>>,
}

/// Both ends.
///
/// # Errors
/// There is no descriptor left.
pub fn remote() -> Result<(Remote, Requests)> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::errno("make an eventfd", errno.raw_os_error()))?;
    let wake = Arc::new(wake);
    let (sender, receiver) = sync_channel(WAITING);
    let remote = Remote {
        queue: sender,
        wake: Arc::clone(&wake),
        stopped: Arc::default(),
        frozen: Arc::default(),
    };
    let requests = Requests {
        queue: receiver,
        wake,
    };
    Ok((remote, requests))
}

impl Remote {
    /// Unconnected TCP sockets of the sandbox's network.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn sockets(&self) -> Result<Vec<OwnedFd>> {
        self.ask("make sockets in the sandbox's network", Request::Sockets)
    }

    /// Stops everything inside: by the freezer of the sandbox's cgroup, or else by a signal that can
    /// be neither caught nor ignored. False if something still runs, in the kernel, that will stop
    /// when it comes back.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn halt(&self) -> Result<bool> {
        let step = "stop the sandbox's processes";
        if let Some(freezer) = self.ask(step, Request::Freezer)? {
            let whole = freezer.freeze(PATIENCE);
            *self.frozen() = Some(freezer);
            return whole.map_err(|errno| Error::errno(step, errno.raw_os_error()));
        }
        let proc = self.ask(step, Request::Proc)?;
        *self.stopped() = states(proc.as_fd())
            .filter(|(_, state)| is_stopped(*state))
            .map(|(pid, _)| pid)
            .collect();
        self.ask(step, Request::Halt)?;
        // A process stops when it leaves the kernel. Nothing tells when that is.
        for _ in 0..LOOKS {
            if states(proc.as_fd()).all(|(_, state)| is_stopped(state)) {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }

    /// Continues what was stopped.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn resume(&self) -> Result<()> {
        let step = "continue the sandbox's processes";
        if let Some(freezer) = self.frozen().take() {
            let thawed = freezer.thaw();
            return thawed.map_err(|errno| Error::errno(step, errno.raw_os_error()));
        }
        let before = std::mem::take(&mut *self.stopped());
        if before.is_empty() {
            return self.ask(step, Request::Continue);
        }
        let proc = self.ask(step, Request::Proc)?;
        // Nothing runs that could fork, so these are all.
        for (pid, _) in states(proc.as_fd()).filter(|(pid, _)| !before.contains(pid)) {
            self.send(step, Request::Wake(pid))?;
        }
        Ok(())
    }

    fn frozen(&self) -> MutexGuard<'_, Option<Freezer>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is used now.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn usage(&self) -> Result<Usage> {
        self.ask("count what the sandbox uses", Request::Usage)
    }

    /// Ends the sandbox and everything in it.
    ///
    /// # Errors
    /// The sandbox has ended.
    pub fn end(&self) -> Result<()> {
        // Init is frozen, too. If it can't be thawed, the supervisor's patience ends it.
        let _ = self.frozen().take().map(|freezer| freezer.thaw());
        self.send("end the sandbox", Request::End)
    }

    fn ask<T>(&self, step: &str, request: impl FnOnce(SyncSender<T>) -> Request) -> Result<T> {
        let (sender, receiver) = sync_channel(1);
        self.send(step, request(sender))?;
        receiver.recv_timeout(PATIENCE).map_err(|_| {
            Error::rule(step, "its supervisor gave no answer").hint("the sandbox may have ended")
        })
    }

    fn send(&self, step: &str, request: Request) -> Result<()> {
        let over = |_| Error::rule(step, "the sandbox has ended");
        self.queue.send(request).map_err(over)?;
        // If it can't be written, it is readable already.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        Ok(())
    }
}

impl Requests {
    /// The next request, if there is one.
    pub(crate) fn next(&self) -> Option<Request> {
        let mut count = [0; 8];
        // The counter is reset before the queue is looked at, so that none is missed.
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.queue.try_recv().ok()
    }
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Stopped, traced and stopped, or dead.
fn is_stopped(state: u8) -> bool {
    matches!(state, b'T' | b't' | b'Z' | b'X')
}
