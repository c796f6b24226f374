//! userfaultfd(2) as a server of pages uses it: a process whose memory has pages missing waits, and
//! another process fills them (ioctl_userfaultfd(2)).
//!
//! ```text
//!   the process with the memory                the server
//!   ───────────────────────────                ──────────
//!   Memory::new, Userfault::open
//!   register ─ the descriptor, over a socket ─▶ Userfault::received
//!   reads a page that isn't there  ── Event ──▶ read
//!          goes on  ◀──────────────────────────  copy · copy_mapped · zero · poison
//! ```
//!
//! The descriptor comes from a process that may be hostile, and shares its file description with
//! it. So the server never trusts that it doesn't block: it reads without waiting, by a flag of each
//! call where the kernel has one (Linux 6.10). What a server asks to be filled is only ever filled if
//! it is missing, in memory that was registered; nothing of that is in the server's own memory.
//!
//! - [`event`]: what is read; [`backing`]: a file that pages are copied from
//! - [`memory`]: memory whose pages may be missing

mod abi;
pub mod backing;
pub mod event;
pub mod memory;
#[cfg(test)]
mod tests;

pub use backing::Backing;
pub use event::{Event, Events};
pub use memory::Memory;

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// A userfaultfd: that of one's own memory, or of another process's.
#[derive(Debug)]
pub struct Userfault {
    descriptor: OwnedFd,
    /// Whether the kernel lets one read say that it doesn't wait.
    reads_without_waiting: AtomicBool,
}

/// How far the kernel came with what it was asked to fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// So many bytes, from the first on.
    pub bytes: u64,
    /// Why not all: EEXIST if the next page is there already, ENOENT if nothing is registered there,
    /// ESRCH if the process is gone, EFAULT if the source can't be read, and EAGAIN if there are
    /// events to be read first, or if it is to be asked again to know.
    pub stopped: Option<Errno>,
}

/// What the owner of the memory wants to be told beside faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Pages that were given back (`UFFD_FEATURE_EVENT_REMOVE`): whoever gives them back waits until
    /// that has been read.
    pub removes: bool,
    /// Addresses that are no longer mapped (`UFFD_FEATURE_EVENT_UNMAP`).
    pub unmaps: bool,
    /// Processes that are forked (`UFFD_FEATURE_EVENT_FORK`); a privilege (`CAP_SYS_PTRACE`).
    pub forks: bool,
}

impl Userfault {
    /// One for this process's memory, which doesn't block. If this user may have no other, it is one
    /// for faults of the program's own code, not of the kernel on its behalf.
    pub fn open(told: Told) -> Result<Self, Errno> {
        let descriptor = make()?;
        let bit = |is_wanted: bool, bit| if is_wanted { bit } else { 0 };
        let mut handshake = abi::Api {
            api: abi::API,
            features: bit(told.removes, abi::EVENT_REMOVE)
                | bit(told.unmaps, abi::EVENT_UNMAP)
                | bit(told.forks, abi::EVENT_FORK),
            ioctls: 0,
        };
        abi::request(&descriptor, abi::UFFDIO_API, &mut handshake)?;
        Ok(Self::of(descriptor))
    }

    /// One that another process has sent. It is looked at before anything is asked of it: the number
    /// of a request means something else to every other kind of descriptor.
    ///
    /// # Errors
    /// EINVAL if it isn't a userfaultfd.
    pub fn received(descriptor: OwnedFd) -> Result<Self, Errno> {
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let kind = rustix::fs::readlink(link, Vec::new())?;
        // A file's name would begin with a slash, and others are given by the kernel.
        if kind.as_bytes() != b"anon_inode:[userfaultfd]" {
            return Err(Errno::INVAL);
        }
        let flags = fcntl_getfl(&descriptor)?;
        fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(Self::of(descriptor))
    }

    fn of(descriptor: OwnedFd) -> Self {
        Self {
            descriptor,
            reads_without_waiting: AtomicBool::new(true),
        }
    }

    /// Has faults on missing pages of this memory reported from now on, bytes from its start.
    pub fn register(&self, memory: &Memory, bytes: Range<u64>) -> Result<(), Errno> {
        let mut registration = abi::Register {
            range: memory.range(bytes)?,
            mode: abi::REGISTER_MISSING,
            ioctls: 0,
        };
        abi::request(&self.descriptor, abi::UFFDIO_REGISTER, &mut registration)
    }

    /// Lets the kernel fill these addresses with zeros by itself from now on.
    pub fn unregister(&self, addresses: Range<u64>) -> Result<(), Errno> {
        let mut range = abi::range(&addresses);
        abi::request(&self.descriptor, abi::UFFDIO_UNREGISTER, &mut range)
    }

    /// Fills pages from this address on with these bytes, whole pages, and wakes who waits for them.
    pub fn copy(&self, to: u64, bytes: &[u8]) -> Filled {
        self.copy_from(to, bytes.as_ptr() as u64, bytes.len() as u64)
    }

    /// Fills pages from a mapped file, bytes from its start. They never come into this process's
    /// hands, so a file that is cut short meanwhile is EFAULT, not a signal.
    pub fn copy_mapped(&self, to: u64, from: &Backing, bytes: Range<u64>) -> Filled {
        let length = bytes.end.saturating_sub(bytes.start);
        match from.address(bytes) {
            Ok(address) => self.copy_from(to, address, length),
            Err(errno) => Filled {
                bytes: 0,
                stopped: Some(errno),
            },
        }
    }

    fn copy_from(&self, to: u64, from: u64, length: u64) -> Filled {
        let mut copy = abi::Copy {
            to,
            from,
            length,
            mode: 0,
            copied: 0,
        };
        let done = abi::request(&self.descriptor, abi::UFFDIO_COPY, &mut copy);
        filled(done, copy.copied)
    }

    /// Fills pages with zeros, which take no memory until they are written. Not for huge pages
    /// (EINVAL).
    pub fn zero(&self, addresses: Range<u64>) -> Filled {
        let mut zero = abi::Fill::of(&addresses);
        let done = abi::request(&self.descriptor, abi::UFFDIO_ZEROPAGE, &mut zero);
        filled(done, zero.done)
    }

    /// Makes whoever needs these pages get SIGBUS (Linux 6.6): better an end than to wait for ever.
    pub fn poison(&self, addresses: Range<u64>) -> Filled {
        let mut poison = abi::Fill::of(&addresses);
        let done = abi::request(&self.descriptor, abi::UFFDIO_POISON, &mut poison);
        filled(done, poison.done)
    }

    /// Wakes who waits for pages that are there by now.
    pub fn wake(&self, addresses: Range<u64>) -> Result<(), Errno> {
        let mut range = abi::range(&addresses);
        abi::request(&self.descriptor, abi::UFFDIO_WAKE, &mut range)
    }

    /// Reads what has happened, as much as fits; EAGAIN if nothing has.
    pub fn read(&self, events: &mut Events) -> Result<Vec<Event>, Errno> {
        events.read(&self.descriptor, &self.reads_without_waiting)
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn filled(done: Result<(), Errno>, bytes: i64) -> Filled {
    Filled {
        // An errno in place of a number is told twice.
        bytes: bytes.try_into().unwrap_or(0),
        stopped: done.err(),
    }
}

/// The system call, then the device (its file's permissions decide), then what everybody may have.
fn make() -> Result<OwnedFd, Errno> {
    by_call(0)
        .or_else(|_| by_device())
        .or_else(|_| by_call(abi::USER_MODE_ONLY))
}

fn by_call(flags: libc::c_int) -> Result<OwnedFd, Errno> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: one integer; the call makes a descriptor and touches no memory.
    own(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })
}

fn by_device() -> Result<OwnedFd, Errno> {
    let device = open(
        "/dev/userfaultfd",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: this request takes its flags by value and makes a descriptor.
    own(unsafe { libc::ioctl(device.as_raw_fd(), abi::USERFAULTFD_IOC_NEW, flags) }.into())
}

fn own(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = check(returned)?;
    // SAFETY: the kernel just made this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}
