//! Addresses for a guest's memory, reserved once with guards around them.
//!
//! ```text
//!   ┌── before ──┬──────────────── pages ────────────────┬── after ──┐
//!   │ PROT_NONE  │ mapped so far ►        PROT_NONE       │ PROT_NONE │
//!   └────────────┴────────────────────────────────────────┴───────────┘
//!                ▲ start(): page 0
//! ```
//!
//! Nothing is reserved but addresses. What is mapped stays mapped as long as the region lives, so a
//! page that could once be read can always be read; a memory grows by mapping the pages that follow.
//! Huge pages are off everywhere: what was written is told for each page, not for 512 of them.
//!
//! A region hands out pointers and never references: a guest writes to its memory whenever it
//! likes. Whoever reads or writes through them sees to it that the pages are mapped.

use super::file::{bytes, inside};
use super::{Error, PAGE, Reader};
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ops::Range;
use std::ptr;

/// A range of addresses of its own.
pub struct Region {
    reserved: *mut u8,
    length: usize,
    start: *mut u8,
    pages: usize,
}

// SAFETY: the addresses belong to this value alone; it gives out pointers, which are as good in one
// thread as in another, and its methods are system calls.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves that many pages, and guards of so many before and after them.
    ///
    /// # Errors
    /// There are no such addresses.
    pub fn reserve(before: usize, pages: usize, after: usize) -> Result<Self, Error> {
        let refused = Error::refused("reserving addresses (mmap)");
        let all = before
            .checked_add(pages)
            .and_then(|sum| sum.checked_add(after))
            .ok_or(refused(Errno::NOMEM))?;
        let length = bytes(all.max(1)) as usize;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, kind, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(refused(Errno::NOMEM));
        }
        Ok(Self {
            reserved: reserved.cast(),
            length,
            start: reserved.cast::<u8>().wrapping_add(before * PAGE),
            pages,
        })
    }

    /// Where page 0 begins.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// How many pages it can have, mapped or not.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Where a page begins; that of the page after the last is where the guard begins.
    pub fn address(&self, page: usize) -> *mut u8 {
        self.start.wrapping_add(page.min(self.pages) * PAGE)
    }

    /// Maps pages of a file, from its page `from` on, so that writing to one makes it this region's
    /// own. They are what the file has until then, also when that changes.
    ///
    /// # Errors
    /// The region or the file has fewer pages, or the kernel refuses.
    pub fn map_private(
        &self,
        pages: Range<usize>,
        file: &Reader,
        from: usize,
    ) -> Result<(), Error> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        inside(&(from..from.saturating_add(pages.len())), file.pages())?;
        self.map(pages, access, libc::MAP_PRIVATE, Some(file.as_fd()), from)
    }

    /// Maps pages of a file that are only read.
    ///
    /// # Errors
    /// The region or the file has fewer pages, or the kernel refuses.
    pub fn map_shared(&self, pages: Range<usize>, file: &Reader, from: usize) -> Result<(), Error> {
        inside(&(from..from.saturating_add(pages.len())), file.pages())?;
        self.map(
            pages,
            libc::PROT_READ,
            libc::MAP_SHARED,
            Some(file.as_fd()),
            from,
        )
    }

    /// Maps memory of no file, which is zero.
    ///
    /// # Errors
    /// The region has fewer pages, or the kernel refuses.
    pub fn map_anonymous(&self, pages: Range<usize>) -> Result<(), Error> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        self.map(pages, access, kind, None, 0)
    }

    fn map(
        &self,
        pages: Range<usize>,
        access: libc::c_int,
        kind: libc::c_int,
        file: Option<BorrowedFd<'_>>,
        from: usize,
    ) -> Result<(), Error> {
        inside(&pages, self.pages)?;
        if pages.is_empty() {
            return Ok(());
        }
        let (at, length) = self.extent(&pages);
        let kind = kind | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let file = file.map_or(-1, |file| file.as_raw_fd());
        let offset = bytes(from) as i64;
        // SAFETY: the range is inside of what was reserved for this value, and nothing that Rust
        // knows of lies there: it hands out pointers only.
        let mapped = unsafe { libc::mmap(at, length, access, kind, file, offset) };
        if mapped == libc::MAP_FAILED {
            let why = std::io::Error::last_os_error();
            let why = Errno::from_io_error(&why).unwrap_or(Errno::NOMEM);
            return Err(Error::refused("mapping pages into a region (mmap)")(why));
        }
        match self.advise(&pages, libc::MADV_NOHUGEPAGE) {
            // The kernel has none.
            Err(Errno::INVAL) => Ok(()),
            result => result.map_err(Error::refused("turning huge pages off (MADV_NOHUGEPAGE)")),
        }
    }

    /// Drops these pages' own contents (madvise(2), MADV_DONTNEED): those of a private mapping are
    /// the file's again, anonymous ones are zero.
    ///
    /// # Errors
    /// The region has fewer pages, or the kernel refuses.
    pub fn forget(&self, pages: Range<usize>) -> Result<(), Error> {
        inside(&pages, self.pages)?;
        self.advise(&pages, libc::MADV_DONTNEED)
            .map_err(Error::refused("dropping pages (MADV_DONTNEED)"))
    }

    /// Takes these pages away again: whoever touches them then gets a fault.
    ///
    /// # Errors
    /// There are fewer pages, or the kernel refuses.
    pub fn withdraw(&self, pages: Range<usize>) -> Result<(), Error> {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        self.map(pages, libc::PROT_NONE, kind, None, 0)
    }

    /// Maps pages ahead that will be read, many at once (madvise(2), MADV_POPULATE_READ). Where
    /// writes are tracked the kernel doesn't map a page's neighbours with it as it does elsewhere.
    /// Holes of the file become pages.
    ///
    /// # Errors
    /// The region has fewer pages, they aren't mapped, or the kernel refuses: it has this since
    /// Linux 5.14.
    pub fn populate(&self, pages: Range<usize>) -> Result<(), Error> {
        const MADV_POPULATE_READ: libc::c_int = 22;
        inside(&pages, self.pages)?;
        self.advise(&pages, MADV_POPULATE_READ)
            .map_err(Error::refused("mapping pages ahead (MADV_POPULATE_READ)"))
    }

    fn advise(&self, pages: &Range<usize>, advice: libc::c_int) -> Result<(), Errno> {
        let (at, length) = self.extent(pages);
        // SAFETY: the range is inside of what was reserved for this value; what its pages hold is
        // no business of Rust's.
        check(unsafe { libc::madvise(at, length, advice) }.into())?;
        Ok(())
    }

    fn extent(&self, pages: &Range<usize>) -> (*mut libc::c_void, usize) {
        (self.address(pages.start).cast(), pages.len() * PAGE)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what was reserved. Who still has a pointer must not use it, as with any.
        unsafe { libc::munmap(self.reserved.cast(), self.length) };
    }
}

#[cfg(test)]
mod tests;
