//! Memory of a process's own, with pages that somebody else may have to fill.

use super::abi;
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is read and written at once.
const WORD: u64 = 8;

/// Memory that is zero, or a file's, unless it is registered and filled. Words of it are read and written
/// whole, by any thread.
pub struct Memory {
    start: *mut libc::c_void,
    length: u64,
}

// SAFETY: the mapping belongs to this value alone, and what is in it is reached as atomic words.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many bytes, in pages of 4 KiB.
    pub fn new(length: u64) -> Result<Self, Errno> {
        Self::map(length, libc::MAP_ANONYMOUS, -1)
    }

    /// So many bytes of a file, of which each page becomes its own when it is written. The file must
    /// not be cut short meanwhile: SIGBUS else.
    pub fn of_file(file: impl AsFd, length: u64) -> Result<Self, Errno> {
        Self::map(length, 0, file.as_fd().as_raw_fd())
    }

    /// The same in pages of 2 MiB, which the machine must have set aside (`vm.nr_hugepages`):
    /// ENOMEM else.
    pub fn huge(length: u64) -> Result<Self, Errno> {
        let kind = libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        Self::map(length, kind, -1)
    }

    fn map(length: u64, kind: libc::c_int, fd: i32) -> Result<Self, Errno> {
        let size = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = kind | libc::MAP_PRIVATE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(check(-1).err().unwrap_or(Errno::NOMEM));
        }
        Ok(Self { start, length })
    }

    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.start as u64
    }

    /// Its length, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes from its start as addresses, if they are its own.
    pub(super) fn range(&self, bytes: Range<u64>) -> Result<abi::Range, Errno> {
        if bytes.start > bytes.end || bytes.end > self.length {
            return Err(Errno::INVAL);
        }
        Ok(abi::range(
            &(self.address() + bytes.start..self.address() + bytes.end),
        ))
    }

    /// Gives pages back (madvise(2), `MADV_DONTNEED`).
    pub fn discard(&self, bytes: Range<u64>) -> Result<(), Errno> {
        let range = self.range(bytes)?;
        let (at, length) = (range.start as *mut libc::c_void, range.length as usize);
        // SAFETY: the range is inside of this mapping, into which nobody has a reference but to atomic
        // words, which may change.
        check(unsafe { libc::madvise(at, length, libc::MADV_DONTNEED) }.into()).map(drop)
    }

    /// The word at so many bytes, a multiple of eight, from its start. Waits until its page is there.
    ///
    /// # Panics
    /// It is none of this memory.
    pub fn word(&self, at: u64) -> u64 {
        self.atomic(at).load(Relaxed)
    }

    /// Writes such a word.
    ///
    /// # Panics
    /// It is none of this memory.
    pub fn set_word(&self, at: u64, value: u64) {
        self.atomic(at).store(value, Relaxed);
    }

    fn atomic(&self, at: u64) -> &AtomicU64 {
        assert!(at.is_multiple_of(WORD) && at < self.length, "{at}");
        // SAFETY: the word is inside of the mapping, which lives as long as this value and is only
        // reached in this way; it is aligned as the mapping is.
        unsafe { &*self.start.byte_add(at as usize).cast() }
    }

    /// The bytes of a range of whole words.
    pub fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        let words = range.step_by(WORD as usize).map(|at| self.word(at));
        words.flat_map(u64::to_ne_bytes).collect()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start, self.length as usize) };
    }
}
