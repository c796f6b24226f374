//! What lies where in a ring's memory. All that is looked at is an atomic number; the lanes' bytes
//! are only ever copied.

use super::wait::Bell;
use crate::Errno;
use crate::pages::{Error, PAGE};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How many bytes a lane has.
pub(super) const CAPACITY: usize = 16 << 10;

/// How long the whole file is.
pub(super) const SIZE: usize = PAGE + 2 * CAPACITY;

/// One of the two; its lane is the one that it sends by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Callee,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A number in a cache line of its own, and in one that isn't fetched along with a neighbour.
#[repr(C, align(128))]
pub(super) struct Apart<T>(pub(super) T);

/// The numbers of one direction.
#[repr(C)]
pub(super) struct Lane {
    /// How much was written in all; told by the sender.
    pub(super) tail: Apart<AtomicU64>,
    /// How much was read in all; told by the receiver.
    pub(super) head: Apart<AtomicU64>,
    /// What the receiver waits for.
    pub(super) filled: Apart<Bell>,
    /// What the sender waits for.
    pub(super) emptied: Apart<Bell>,
}

/// Page 0.
#[repr(C)]
struct Header {
    lanes: [Lane; 2],
    /// The processor that each side was last on, plus one.
    processors: [Apart<AtomicU32>; 2],
}

const _: () = assert!(size_of::<Header>() <= PAGE);

/// The memory, mapped into one of the processes.
pub(super) struct Shared {
    start: *mut u8,
    /// Nobody is at the other end. It isn't in the shared memory.
    cut: AtomicBool,
}

// SAFETY: the mapping belongs to this value. Its numbers are atomic, its bytes are copied by code
// that puts up with their changing.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn map(file: &OwnedFd) -> Result<Self, Error> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let file = file.as_raw_fd();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), SIZE, access, libc::MAP_SHARED, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::refused("mapping a ring (mmap)")(Errno::NOMEM));
        }
        Ok(Self {
            start: start.cast(),
            cut: AtomicBool::new(false),
        })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is that large, aligned to a page, lives as long as this value and is of
        // a file that can't get shorter. A header is nothing but atomic integers, of which every
        // content is valid, and which others may change.
        unsafe { &*self.start.cast::<Header>() }
    }

    /// The numbers of the lane that a side sends by.
    pub(super) fn lane(&self, of: Side) -> &Lane {
        &self.header().lanes[of as usize]
    }

    /// The bytes of that lane: [`CAPACITY`] from here on.
    pub(super) fn bytes(&self, of: Side) -> *mut u8 {
        self.start.wrapping_add(PAGE + of as usize * CAPACITY)
    }

    /// The processor that a side was last on, plus one; whatever it says.
    pub(super) fn processor(&self, of: Side) -> &AtomicU32 {
        &self.header().processors[of as usize].0
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        for lane in &self.header().lanes {
            lane.filled.0.ring_always();
            lane.emptied.0.ring_always();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start.cast(), SIZE) };
    }
}
