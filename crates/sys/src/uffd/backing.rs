//! A file that pages are copied from, by the kernel alone.

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd};
use std::ops::Range;
use std::ptr;

/// The size of a page, bytes.
const PAGE: u64 = 4096;

/// A mapping that only reads. Nothing of it is ever looked at from here, so the file may be cut
/// short while it is mapped: what the kernel then doesn't find is an error of the request.
#[derive(Debug)]
pub struct Backing {
    start: *mut libc::c_void,
    length: u64,
}

// SAFETY: the mapping belongs to this value alone, which only gives its addresses to the kernel.
unsafe impl Send for Backing {}
// SAFETY: as above.
unsafe impl Sync for Backing {}

impl Backing {
    /// Maps so many bytes of a file.
    pub fn map(file: impl AsFd, length: u64) -> Result<Self, Errno> {
        let size = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        let fd = file.as_fd().as_raw_fd();
        let (access, kind) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(check(-1).err().unwrap_or(Errno::NOMEM));
        }
        let mapped = Self { start, length };
        // What is forked from this process has no business with it, nor has a core dump.
        mapped.advise(0..length, libc::MADV_DONTFORK)?;
        mapped.advise(0..length, libc::MADV_DONTDUMP)?;
        Ok(mapped)
    }

    /// How much of the file is mapped, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads this part and maps it at once (`MADV_POPULATE_READ`, Linux 5.14), so that copying finds
    /// it. EFAULT if the file has become shorter.
    pub fn populate(&self, bytes: Range<u64>) -> Result<(), Errno> {
        self.advise(bytes, libc::MADV_POPULATE_READ)
    }

    /// Lets go of what was mapped of this part; the kernel may keep it in its cache.
    pub fn release(&self, bytes: Range<u64>) -> Result<(), Errno> {
        self.advise(bytes, libc::MADV_DONTNEED)
    }

    fn advise(&self, bytes: Range<u64>, advice: libc::c_int) -> Result<(), Errno> {
        let start = bytes.start / PAGE * PAGE;
        let length = bytes.end.saturating_sub(start);
        let at = self.address(start..bytes.end)? as *mut libc::c_void;
        // SAFETY: the range is inside of this mapping of a file, which isn't written to by it: its
        // pages can go and come back.
        check(unsafe { libc::madvise(at, length as usize, advice) }.into()).map(drop)
    }

    /// Where this part is, if it is one.
    pub(super) fn address(&self, bytes: Range<u64>) -> Result<u64, Errno> {
        if bytes.start > bytes.end || bytes.end > self.length {
            return Err(Errno::INVAL);
        }
        Ok(self.start as u64 + bytes.start)
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start, self.length as usize) };
    }
}
