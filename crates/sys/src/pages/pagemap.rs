//! What the kernel knows of each page of this process (`/proc/self/pagemap`): whether it is a file's
//! or the process's own, and whether it was written to.
//!
//! Two questions are asked, and both come down to one fact: in a private mapping of a file, a page
//! is anonymous if and only if it was written to.
//! - [`private`](PageMap::private): which pages are anonymous. In a mapping that was made, or wholly
//!   forgotten, since the last commit, these are the written ones, and tracking costs nothing.
//! - [`written`](PageMap::written): which of them are not write-protected. In a mapping that stays,
//!   pages that were committed once are protected by the scan that reports them, and lose that by
//!   the next write ([`Userfault`](super::Userfault)).
//!
//! The kernel answers with PAGEMAP_SCAN (since Linux 6.7; `scan`). Without it the answer to the first
//! is read page by page (`entries`), and who needs the second compares (`compare`).
//!
//! The file must be opened by the very process that it is about: it stays with the memory of its
//! opener, and one that is inherited reads the parent, and would protect the parent's pages.

pub(crate) mod abi;
mod compare;
mod entries;
mod scan;

pub(super) use scan::UNSUPPORTED;

use super::file::inside;
use super::kin::Birthplace;
use super::{Error, Reader, Region, Runs};
use crate::Errno;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::fs::File;
use std::ops::Range;

/// What is done with pages that were found written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are protected, and found again only when they are written again.
    Protect,
    /// Nothing.
    Leave,
}

/// This process's page map, opened.
pub struct PageMap {
    file: File,
    born: Birthplace,
    scans: bool,
}

impl PageMap {
    /// Opens it. A process that may not be looked at (PR_SET_DUMPABLE) can't do so as an ordinary
    /// user; once open it stays so, also without a `/proc`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let file = File::open("/proc/self/pagemap").map_err(|error| {
            let why = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Error::refused("opening /proc/self/pagemap")(why)
        })?;
        Self::over(file.into())
    }

    /// Takes the descriptor of it that this process opened where its `/proc` is.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn over(file: OwnedFd) -> Result<Self, Error> {
        let file = File::from(file);
        let scans = scan::works(&file)?;
        Ok(Self {
            file,
            born: Birthplace::here()?,
            scans,
        })
    }

    /// What it reads.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// True if the kernel has PAGEMAP_SCAN.
    pub fn scans(&self) -> bool {
        self.scans
    }

    /// As a kernel without PAGEMAP_SCAN would have it.
    #[must_use]
    pub fn without_scan(mut self) -> Self {
        self.scans = false;
        self
    }

    /// Adds the pages that are this process's own: of a private mapping those that were written
    /// since it was made or last forgotten, of anonymous memory those that aren't untouched. It is
    /// exact where writes aren't tracked; where they are, a page that was protected and then
    /// forgotten counts too, until it is read.
    ///
    /// # Errors
    /// The region has fewer pages, or the kernel refuses.
    pub fn private(
        &self,
        region: &Region,
        pages: Range<usize>,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        self.born.check()?;
        inside(&pages, region.pages())?;
        if self.scans {
            return scan::private(&self.file, region, pages, runs);
        }
        entries::private(&self.file, region, pages, runs)
    }

    /// Adds the pages that were written since they were last protected, or at all. Nothing may write
    /// to them meanwhile. All of them have to be registered for tracking.
    ///
    /// # Errors
    /// The region has fewer pages, [`Error::Untracked`], [`Error::Unsupported`], or the kernel
    /// refuses. Pages may have been protected then that nobody was told of: whatever is to be found
    /// later has to be forgotten first, or asked for by [`private`](Self::private).
    pub fn written(
        &self,
        region: &Region,
        pages: Range<usize>,
        then: Then,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        self.born.check()?;
        inside(&pages, region.pages())?;
        if !self.scans {
            return Err(UNSUPPORTED);
        }
        scan::written(&self.file, region, pages, then, runs)
    }

    /// Adds the pages that are this process's own and differ from the same pages of a file: those
    /// that were written, where that can't be told otherwise. What was committed must be in the file
    /// by then. Nothing may write to them meanwhile.
    ///
    /// # Errors
    /// The region or the file has fewer pages, or the kernel refuses.
    pub fn differing(
        &self,
        region: &Region,
        pages: Range<usize>,
        file: &Reader,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        inside(&pages, file.pages())?;
        let mut private = Runs::default();
        self.private(region, pages, &mut private)?;
        compare::differing(region, &private, file, runs)
    }
}

#[cfg(test)]
mod tests;
