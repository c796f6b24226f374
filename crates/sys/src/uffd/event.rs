//! What has happened to memory that is registered: messages of 32 bytes each.

use crate::Errno;
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::{ReadWriteFlags, preadv2, read};
use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// `sizeof(struct uffd_msg)`.
const SIZE: usize = 32;
/// So many are read at once.
const MOST: usize = 32;

/// `UFFD_EVENT_PAGEFAULT` and what follows it.
const PAGEFAULT: u8 = 0x12;
const FORK: u8 = 0x13;
const REMAP: u8 = 0x14;
const REMOVE: u8 = 0x15;
const UNMAP: u8 = 0x16;

/// Something that has happened, by addresses of the process whose memory it is.
#[derive(Debug)]
pub enum Event {
    /// Somebody waits for the page of this address.
    Fault(u64),
    /// These have been given back, and are zero from now on.
    Remove(Range<u64>),
    /// These are no longer mapped.
    Unmap(Range<u64>),
    /// What was mapped from the first address on is mapped elsewhere now.
    Remap(u64),
    /// The process has forked; this is the other's.
    Fork(OwnedFd),
    /// Something newer, by its number.
    Other(u8),
}

/// Where events are read to.
pub struct Events {
    bytes: [u8; SIZE * MOST],
}

impl Default for Events {
    fn default() -> Self {
        Self {
            bytes: [0; SIZE * MOST],
        }
    }
}

impl Events {
    pub(super) fn read(
        &mut self,
        descriptor: &OwnedFd,
        without_waiting: &AtomicBool,
    ) -> Result<Vec<Event>, Errno> {
        let count = bytes(descriptor, &mut self.bytes, without_waiting)?;
        let (messages, _) = self.bytes[..count].as_chunks::<SIZE>();
        // All at once, so that a descriptor among them has an owner whatever the caller does.
        Ok(messages.iter().map(event).collect())
    }
}

/// By a flag that the other owner of the descriptor can't take back, where there is one.
fn bytes(
    descriptor: &OwnedFd,
    bytes: &mut [u8],
    without_waiting: &AtomicBool,
) -> Result<usize, Errno> {
    if without_waiting.load(Ordering::Relaxed) {
        // Where it is now, as it has no other place.
        let place = u64::MAX;
        let mut slices = [IoSliceMut::new(bytes)];
        match preadv2(descriptor, &mut slices, place, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP) => without_waiting.store(false, Ordering::Relaxed),
            result => return result,
        }
    }
    read(descriptor, bytes)
}

fn event(message: &[u8; SIZE]) -> Event {
    let (words, _) = message.as_chunks::<8>();
    let word = |at: usize| u64::from_ne_bytes(words[at]);
    match message[0] {
        // After the flags.
        PAGEFAULT => Event::Fault(word(2)),
        REMOVE => Event::Remove(word(1)..word(2)),
        UNMAP => Event::Unmap(word(1)..word(2)),
        REMAP => Event::Remap(word(1)),
        // SAFETY: by this message the kernel says which descriptor it has just made for whoever
        // reads it. Each message is looked at once.
        FORK => Event::Fork(unsafe { OwnedFd::from_raw_fd(word(1) as u32 as i32) }),
        other => Event::Other(other),
    }
}
