//! Who answers at a keeper's socket: a thread that accepts, and one for each that asks. There are
//! few: the daemon has one channel, and another that is just being replaced.

use super::Restrict;
use super::wire::{self, Answer, Ask};
use casemate_core::error::{Error, Result};
use casemate_jail::stay::Remote;
use casemate_sys::channel::{Channel, Listener};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// After a connection that couldn't be taken.
const PAUSE: Duration = Duration::from_millis(50);
/// Channels at one time.
const MOST: usize = 16;
/// Little is done on these threads, and each sandbox has them. A policy is compiled on one.
const STACK: usize = 256 << 10;

/// What answers.
#[derive(Clone)]
pub(super) struct Answering {
    remote: Remote,
    restrict: Restrict,
    open: Arc<AtomicUsize>,
    halted: Arc<AtomicBool>,
}

impl Answering {
    pub(super) fn new(remote: Remote, restrict: Restrict) -> Self {
        Self {
            remote,
            restrict,
            open: Arc::default(),
            halted: Arc::default(),
        }
    }

    /// Answers on one channel until the other side has enough.
    fn serve(&self, channel: &Channel) -> Result<()> {
        while let Some((ask, _)) = wire::receive::<Ask>(channel)? {
            let (answer, fds) = match self.answer(ask) {
                Ok(answered) => answered,
                Err(error) => (Answer::Failed(error.to_string()), Vec::new()),
            };
            wire::send(channel, &answer, &wire::borrowed(&fds))?;
        }
        Ok(())
    }

    fn answer(&self, ask: Ask) -> Result<(Answer, Vec<OwnedFd>)> {
        let answer = match ask {
            Ask::Sockets => return Ok((Answer::Done, self.remote.sockets()?)),
            Ask::Halt => {
                self.halted.store(true, Ordering::Relaxed);
                match self.remote.halt()? {
                    true => Answer::Done,
                    false => Answer::Partly,
                }
            }
            Ask::Continue => {
                self.remote.resume()?;
                self.halted.store(false, Ordering::Relaxed);
                Answer::Done
            }
            Ask::Halted => Answer::Halted(self.halted.load(Ordering::Relaxed)),
            Ask::Usage => Answer::Usage(self.remote.usage()?),
            Ask::Restrict(outward) => (self.restrict)(&outward).map(|()| Answer::Done)?,
            Ask::End => self.remote.end().map(|()| Answer::Done)?,
        };
        Ok((answer, Vec::new()))
    }
}

/// Answers whoever connects, on threads that end with the process.
pub(super) fn open(listener: Listener, answering: Answering) -> Result<()> {
    let accept = move || {
        loop {
            match listener.accept() {
                Ok(channel) => admit(channel, answering.clone()),
                // Out of descriptors or memory: whoever asks waits.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    };
    thread("door", accept)
}

fn admit(channel: Channel, answering: Answering) {
    if answering.open.fetch_add(1, Ordering::Relaxed) >= MOST {
        answering.open.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let open = Arc::clone(&answering.open);
    let serve = move || {
        if let Err(error) = answering.serve(&channel) {
            eprintln!("{error}");
        }
        answering.open.fetch_sub(1, Ordering::Relaxed);
    };
    if thread("answers", serve).is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    let started = thread.spawn(body);
    started
        .map(drop)
        .map_err(|error| Error::io("start a thread", &error))
}
