//! A keeper and its launcher, from the controller's side.
//!
//! A thread of its own starts the keeper and stays with it ([`start`](super::start)).

use super::inside::kind;
use super::ledger::{Ledger, Slot};
use super::order::{Answer, LONGEST_CONFIG, Order, decode_error};
use super::role;
use super::start::Starter;
use super::{BuildId, Failure, Spec};
use crate::wire::{Broken, Connection, Descriptors, Hello, Malformed};
use casemate_core::error::Error;
use casemate_sys::Errno;
use casemate_sys::cgroup::Cgroup;
use casemate_sys::channel::{Channel, Message};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) const KEEPER: &str = "the keeper";
pub(super) const LAUNCHER: &str = "the launcher";

/// A running tree. Dropping it ends the launcher and its pool; workers that were handed out live on,
/// and the keeper until the last of them is gone.
pub(super) struct Tree {
    channel: Mutex<Channel>,
    ledger: Arc<Ledger>,
    keeper: i32,
}

/// A process as it was handed out.
pub(super) struct Handed {
    /// As this process sees it; `None` if it has been reaped already, and all that it said waits in its
    /// socket.
    pub(super) pid: Option<i32>,
    pub(super) pidfd: OwnedFd,
    pub(super) connection: Connection,
    pub(super) stderr: OwnedFd,
    pub(super) slot: Arc<Slot>,
}

impl Tree {
    /// Starts one and waits until it can hand out workers.
    pub(super) fn start(spec: &Spec, cgroup: Option<&Arc<Cgroup>>) -> Result<Self, Failure> {
        if role::arguments().is_some() {
            return Err(Failure::Forgotten(
                "this process is one of them, and doesn't know it",
            ));
        }
        if spec.program.is_none() && !role::was_asked() {
            return Err(Failure::Forgotten("this program never asks for its role"));
        }
        if spec.config.len() > LONGEST_CONFIG {
            let why = format!("it is longer than {LONGEST_CONFIG} bytes");
            return Err(Error::rule("hand on the runtime's configuration", why).into());
        }
        let fail = |errno| Failure::step("make a channel to the keeper", errno);
        let (ours, theirs) = Channel::pair().map_err(fail)?;
        ours.set_patience(spec.patience).map_err(fail)?;
        let (told, reports) = Channel::pair().map_err(fail)?;
        let ledger = Arc::new(Ledger::default());
        let (answer, answered) = sync_channel(1);
        let starter = Starter {
            spec: spec.clone(),
            cgroup: cgroup.cloned(),
            ledger: Arc::clone(&ledger),
        };
        std::thread::Builder::new()
            .name("wasm-keeper".to_owned())
            .spawn(move || starter.run(ours, theirs, &told, reports, &answer))
            .map_err(|error| Error::io("start a thread for the keeper", &error))?;
        let (channel, keeper) = answered.recv().map_err(|_| Failure::Ended(KEEPER))??;
        Ok(Self {
            channel: Mutex::new(channel),
            ledger,
            keeper,
        })
    }

    /// The keeper's process id.
    pub(super) fn keeper(&self) -> i32 {
        self.keeper
    }

    /// Ends the launcher and its pool, and waits for the keeper's end if nobody is left.
    pub(super) fn end(self, patience: Duration) {
        drop(self.channel);
        self.ledger.wait_for_end(patience);
    }

    /// Orders a process, which has not said anything yet.
    pub(super) fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<Handed, Failure> {
        let (ns_pid, fds) = {
            let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = channel.send(&order.encode(), fds);
            sent.map_err(|_| Failure::Gone)?;
            // An answer that comes too late would be taken for that to the next order.
            let answer = receive(&channel, LAUNCHER).map_err(|_| Failure::Gone);
            let Message { bytes, fds } = answer?;
            match Answer::decode(&bytes) {
                Ok(Answer::Handed(pid)) => (pid, fds),
                Ok(Answer::Failed(error)) => return Err(error.into()),
                Ok(_) => return Err(Failure::Gone),
                Err(malformed) => return Err(Failure::Nonsense(LAUNCHER, malformed.into())),
            }
        };
        let [pidfd, socket, stderr] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| Failure::Gone)?;
        Ok(Handed {
            pid: pid_of(pidfd.as_fd()),
            pidfd,
            connection: Connection::new(socket, Descriptors::Refused),
            stderr,
            slot: self.ledger.enter(ns_pid),
        })
    }
}

impl Handed {
    /// Waits for its first words; it is killed if they aren't the right ones.
    pub(super) fn greet(mut self, who: &'static str, patience: Duration) -> Result<Self, Failure> {
        match self.hear(who, patience) {
            Ok(()) => Ok(self),
            Err(failure) => {
                let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
                Err(failure)
            }
        }
    }

    fn hear(&mut self, who: &'static str, patience: Duration) -> Result<(), Failure> {
        let nonsense = |malformed: Malformed| Failure::Nonsense(who, malformed.into());
        let deadline = Some(Instant::now() + patience);
        let received = self.connection.receive(deadline);
        let (frame, _) = received.map_err(|broken| Failure::at_start(who, broken))?;
        match frame.kind {
            kind::HELLO => {
                let hello = Hello::decode(&frame.payload).map_err(nonsense)?;
                same_build(hello, who)
            }
            kind::FAILED => Err(decode_error(&frame.payload).map_err(nonsense)?.into()),
            _ => Err(nonsense(Malformed::Meaningless)),
        }
    }
}

/// The process that a pidfd is of (proc(5), fdinfo), as this one sees it; `None` if it has been reaped.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let pid = info.ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        line.trim().parse().ok()
    });
    pid.filter(|pid| *pid > 0)
}

pub(super) fn same_build(hello: Hello, who: &'static str) -> Result<(), Failure> {
    if hello.build == BuildId::own()? {
        Ok(())
    } else {
        Err(Failure::Stale(who))
    }
}

pub(super) fn receive(channel: &Channel, who: &'static str) -> Result<Message, Failure> {
    match channel.receive() {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Failure::Ended(who)),
        Err(Errno::AGAIN) => Err(Failure::Silent(who)),
        Err(errno) => Err(Failure::at_start(who, Broken::from(errno))),
    }
}
