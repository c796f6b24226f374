//! A sandbox that stays: its program is an agent that waits for orders, and others than the
//! program ask things of the supervisor.
//!
//! The supervisor has one loop in one thread. A [`Remote`] is how other threads of its process ask
//! it for something: a request is put in a queue, an eventfd(2) wakes the loop, and the answer
//! comes back through a queue of its own. What only init can do (make a socket in the sandbox's
//! network, stop every process) the loop asks of init, which answers in order.

use casemate_core::error::{Error, Result};
use casemate_core::sandbox::Usage;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long an answer may take. Stopping waits for processes to leave the kernel.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait at one time; who asks more waits to ask.
const WAITING: usize = 64;

/// What a sandbox that stays is given.
pub struct Stay {
    /// Its program.
    pub agent: Agent,
    /// What is asked of it.
    pub requests: Requests,
    /// Called when the program is about to start and the supervisor may have threads.
    pub started: Option<Box<dyn FnOnce() -> Result<()>>>,
}

/// The program of a sandbox that stays.
pub struct Agent {
    /// The executable, wherever it is.
    pub program: OwnedFd,
    /// The one descriptor above 2 that it gets, at the same number as here.
    pub listener: OwnedFd,
}

/// Something that is asked of a supervisor.
pub(crate) enum Request {
    Sockets(SyncSender<Vec<OwnedFd>>),
    Halt(SyncSender<bool>),
    Continue(SyncSender<bool>),
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

    /// Stops everything inside. False if something still runs, in the kernel, that will stop when
    /// it comes back.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn halt(&self) -> Result<bool> {
        self.ask("stop the sandbox's processes", Request::Halt)
    }

    /// Continues what was stopped.
    ///
    /// # Errors
    /// The sandbox has ended, or doesn't answer.
    pub fn resume(&self) -> Result<()> {
        let step = "continue the sandbox's processes";
        self.ask(step, Request::Continue).map(|_| ())
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
