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
use rustix::fs::{Dir, Mode, OFlags, openat};
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
    Proc(SyncSender<OwnedFd>),
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
        let step = "stop the sandbox's processes";
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

/// The processes of a sandbox besides init, by its own numbers, with their states (proc(5)).
fn states(proc: BorrowedFd<'_>) -> impl Iterator<Item = (i32, u8)> {
    let folder = Dir::read_from(proc).into_iter().flatten().flatten();
    let numbers = folder.filter_map(|entry| entry.file_name().to_str().ok()?.parse::<i32>().ok());
    numbers.filter(|pid| *pid != 1).filter_map(move |pid| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(proc, format!("{pid}/stat"), flags, Mode::empty()).ok()?;
        // The name takes up to 64 bytes; it is in parentheses, and may hold some of its own.
        let mut text = [0; 128];
        let length = rustix::io::read(&file, &mut text).ok()?;
        let text = &text[..length];
        let end = text.iter().rposition(|byte| *byte == b')')?;
        Some((pid, *text.get(end + 2)?))
    })
}

/// Stopped, traced and stopped, or dead.
fn is_stopped(state: u8) -> bool {
    matches!(state, b'T' | b't' | b'Z' | b'X')
}
