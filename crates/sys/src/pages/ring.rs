//! Calls between two processes that don't trust each other, through memory that they share.
//!
//! ```text
//!   page 0:  lane 0: tail | head | bells      lane 1: tail | head | bells      where each side runs
//!   then:    16 KiB of lane 0 (requests)      16 KiB of lane 1 (replies)
//!
//!            ┌── head: read so far      ┌── tail: written so far
//!   ─────────▼━━━━━━━━━━━━━━━━━━━━━━━━━━▼──────────   both only grow; modulo the lane's length
//! ```
//!
//! A frame is its length (u32) and its bytes. One that is longer than a lane flows through it in
//! pieces, while the other side reads.
//!
//! **Distrust.** Each side keeps its own index for itself and only ever tells it; what it reads of the
//! other's is compared with what that could be, and anything else ends the ring for good
//! ([`Breach`]). Bytes are copied out before anything looks at them, and memory is taken for what has
//! arrived, not for what was announced. Whatever the other side writes, no byte outside of the lanes
//! is read or written, and no call lasts longer than its deadline.
//!
//! **Waiting.** Who has nothing to read looks again for some microseconds (`wait`), but only where the
//! other side was last seen on another processor and that was worth it lately; then it sleeps (a
//! shared futex(2)). A side that waits sleeps in slices, and looks in between whether the other one
//! has ended ([`End::watch`]): a futex and a descriptor can't be waited for at once. Who watches
//! processes anyway tells a waiting side at once ([`End::line`]).
//!
//! A reply that comes after its caller's deadline is the first that the next call receives: frames
//! need a number of their call in them, or the ring is given up with it.

mod copy;
mod error;
mod lane;
mod layout;
mod wait;

pub use error::{Breach, Error};

use super::Error as PageError;
use super::file::{memory_file, seal, sealed_length};
use lane::{Receiver, Sender};
use layout::{SIZE, Shared, Side};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::SealFlags;
use std::sync::Arc;
use std::time::Instant;
use wait::Waiter;

/// The longest frame, bytes. What is longer goes in a [sealed](super::Sealed) file.
pub const MAX_FRAME: u32 = 4 << 20;

/// The memory of a ring, before anybody calls.
pub struct Ring(OwnedFd);

impl Ring {
    /// Makes it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new() -> Result<Self, PageError> {
        let file = memory_file("ring", SIZE as u64)?;
        seal(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self(file))
    }

    /// Takes over the descriptor that the other side's [`as_fd`](Self::as_fd) was sent as.
    ///
    /// # Errors
    /// [`PageError::NotSealed`] unless it is such a file.
    pub fn adopt(file: OwnedFd) -> Result<Self, PageError> {
        let length = sealed_length(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        if length != SIZE as u64 {
            return Err(PageError::NotSealed);
        }
        Ok(Self(file))
    }

    /// The end that sends requests. There can be one.
    ///
    /// # Errors
    /// There are no addresses for it.
    pub fn caller(self) -> Result<End, PageError> {
        End::new(&self.0, Side::Caller)
    }

    /// The end that gets requests. There can be one.
    ///
    /// # Errors
    /// There are no addresses for it.
    pub fn callee(self) -> Result<End, PageError> {
        End::new(&self.0, Side::Callee)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One of the two ends.
pub struct End {
    sender: Sender,
    receiver: Receiver,
    waiter: Waiter,
    ended: Option<Error>,
}

impl End {
    fn new(file: &OwnedFd, side: Side) -> Result<Self, PageError> {
        let shared = Arc::new(Shared::map(file)?);
        Ok(Self {
            sender: Sender::new(side),
            receiver: Receiver::new(side.other()),
            waiter: Waiter::new(shared, side),
            ended: None,
        })
    }

    /// Looks at this descriptor now and then while it waits: once it is readable, the other side has
    /// ended. A pidfd is one, so is a socket of which the other side has the other end.
    pub fn watch(&mut self, other: OwnedFd) {
        self.waiter.watch(other);
    }

    /// What tells this end from another thread that the other side has ended.
    pub fn line(&self) -> Line {
        Line(self.waiter.shared())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Error::TooLong`]; [`Error::Late`] if there was no room for it by the deadline, and
    /// [`Error::Gone`]. [`Error::Breach`] if the other side broke the rules. After any but the first
    /// two, or if a part of the frame was already sent, the ring is of no use any more.
    pub fn send(&mut self, frame: &[u8], deadline: Instant) -> Result<(), Error> {
        self.usable()?;
        if frame.len() as u64 > MAX_FRAME.into() {
            return Err(Error::TooLong { bytes: frame.len() });
        }
        let length = (frame.len() as u32).to_le_bytes();
        let sent = self
            .sender
            .send(&[&length, frame], &mut self.waiter, deadline);
        self.remember(sent, self.sender.within_a_frame())
    }

    /// Receives a frame in place of what `frame` holds.
    ///
    /// # Errors
    /// [`Error::Late`] if there was none by the deadline; otherwise as [`send`](Self::send).
    pub fn receive(&mut self, frame: &mut Vec<u8>, deadline: Instant) -> Result<(), Error> {
        self.usable()?;
        let received = self.receiver.receive(frame, &mut self.waiter, deadline);
        self.remember(received, self.receiver.within_a_frame())
    }

    fn usable(&self) -> Result<(), Error> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Half a frame can't be taken back, and an error that isn't about time stays.
    fn remember(&mut self, result: Result<(), Error>, halfway: bool) -> Result<(), Error> {
        if let Err(error) = &result {
            self.ended = match error {
                Error::Late if halfway => Some(Error::Halfway),
                Error::Late | Error::TooLong { .. } => None,
                error => Some(error.clone()),
            };
        }
        result
    }
}

/// The wire by which a waiting end is told that there is nobody to wait for.
#[derive(Clone)]
pub struct Line(Arc<Shared>);

impl Line {
    /// Makes all waiting of this process's end end, now and later, once what was sent is received.
    pub fn cut(&self) {
        self.0.cut();
    }
}

#[cfg(test)]
mod tests;
