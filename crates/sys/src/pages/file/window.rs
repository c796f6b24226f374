//! The maker's own view of committed memory: its first pages, shared and writable.

use super::{bytes, end, inside};
use crate::pages::{Error, PAGE};
use crate::{Errno, check};
use rustix::fd::{AsRawFd, OwnedFd};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

/// A mapping, and how many pages it has.
pub(super) struct Window {
    start: *mut u8,
    pages: usize,
}

// SAFETY: the mapping belongs to this value alone, and is reached only by a `Mapped`, which is
// exclusive.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Opens it, or moves it to where there are addresses for more pages.
    pub(super) fn widen<'a>(
        window: &'a mut Option<Self>,
        file: &OwnedFd,
        pages: usize,
    ) -> Result<Mapped<'a>, Error> {
        let known = match window.take() {
            Some(open) if open.pages >= pages => open,
            Some(open) => match open.moved(pages) {
                Ok(wider) => wider,
                Err((open, error)) => {
                    *window = Some(open);
                    return Err(error);
                }
            },
            None => Self::open(file, pages.max(1))?,
        };
        let known = window.insert(known);
        Ok(Mapped {
            start: known.start,
            first: 0,
            pages: known.pages,
            exclusive: PhantomData,
        })
    }

    fn open(file: &OwnedFd, pages: usize) -> Result<Self, Error> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let refused = Error::refused("mapping committed memory (mmap)");
        let (size, file) = (bytes(pages) as usize, file.as_raw_fd());
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(refused(Errno::NOMEM));
        }
        let window = Self {
            start: start.cast(),
            pages,
        };
        // What is forked from this process has no business with it.
        for advice in [libc::MADV_DONTFORK, libc::MADV_DONTDUMP] {
            // SAFETY: the range is the mapping just made.
            check(unsafe { libc::madvise(start, size, advice) }.into()).map_err(&refused)?;
        }
        Ok(window)
    }

    fn moved(self, pages: usize) -> Result<Self, (Self, Error)> {
        let (old, new) = (bytes(self.pages) as usize, bytes(pages) as usize);
        // SAFETY: the mapping is this value's own, and nobody has its address now.
        let start = unsafe { libc::mremap(self.start.cast(), old, new, libc::MREMAP_MAYMOVE) };
        if start == libc::MAP_FAILED {
            let error = Error::refused("widening a mapping of committed memory (mremap)");
            return Err((self, error(Errno::NOMEM)));
        }
        std::mem::forget(self);
        Ok(Self {
            start: start.cast(),
            pages,
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and this is its end.
        unsafe { libc::munmap(self.start.cast(), bytes(self.pages) as usize) };
    }
}

/// Pages of committed memory, in this process's own memory: the first ones, or a part of these.
pub struct Mapped<'a> {
    /// Where page 0 is, whether or not this shows it.
    start: *mut u8,
    first: usize,
    /// The page after the last.
    pages: usize,
    exclusive: PhantomData<&'a mut Window>,
}

// SAFETY: it is the only way to its pages, whichever thread has it.
unsafe impl Send for Mapped<'_> {}

impl Mapped<'_> {
    /// How many pages it shows, if it isn't the upper part of a [split](Self::split) one.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Those before this page, and those from it on, which keep their numbers.
    #[must_use]
    pub fn split(self, page: usize) -> (Self, Self) {
        let page = page.clamp(self.first, self.pages);
        let lower = Self {
            pages: page,
            ..self
        };
        (
            lower,
            Self {
                first: page,
                ..self
            },
        )
    }

    /// Refuses pages that it doesn't show.
    pub(in crate::pages) fn shows(&self, pages: &Range<usize>) -> Result<(), Error> {
        let below = pages.start < self.first;
        inside(pages, if below { 0 } else { self.pages })
    }

    /// Where page 0 is: for calls that write to what this shows while this value is borrowed.
    pub(in crate::pages) fn start(&mut self) -> *mut u8 {
        self.start
    }

    /// Copies from a page on. What was a hole takes memory then.
    ///
    /// # Errors
    /// There are fewer pages.
    pub fn read(&self, page: usize, into: &mut [u8]) -> Result<(), Error> {
        self.shows(&(page..end(page, into.len())))?;
        // SAFETY: the range is inside of the mapping, whose file can't get shorter, and nobody
        // writes to it while this value is borrowed: it is the only way to write to the file.
        unsafe {
            ptr::copy_nonoverlapping(self.start.add(page * PAGE), into.as_mut_ptr(), into.len());
        }
        Ok(())
    }

    /// Copies to a page and what follows it.
    ///
    /// # Errors
    /// There are fewer pages.
    pub fn write(&mut self, page: usize, bytes: &[u8]) -> Result<(), Error> {
        self.shows(&(page..end(page, bytes.len())))?;
        // SAFETY: as above, and the reference is exclusive. Other processes only read.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(page * PAGE), bytes.len());
        }
        Ok(())
    }
}
