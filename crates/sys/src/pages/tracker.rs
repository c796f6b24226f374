//! Which pages of a canister were written since the last commit.
//!
//! | | [`Method::Protect`] | [`Method::Compare`] |
//! |---|---|---|
//! | needs | Linux 6.7 | `/proc` when it is opened |
//! | a first write | costs what any costs | the same |
//! | a write after a commit | one more fault, which the kernel answers | nothing |
//! | a commit | looks at pages that are there | compares all that were ever written |
//!
//! A mapping stays when a message is done: what a canister uses often is there already. Which method
//! there is, is found out by trying; that another was chosen changes no answer but this: a page that
//! was written and is what it was before is found by the first, and not by the second.

use super::pagemap::{PageMap, Then};
use super::{Error, Reader, Region, Runs, Userfault};
use rustix::fd::{AsFd, BorrowedFd};
use std::ops::Range;

/// How written pages are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The kernel protects what was committed, and notes what loses that.
    Protect,
    /// The process's own pages are compared with what was committed.
    Compare,
}

/// Tells them for the regions of this process. It is opened before the process is confined: with a
/// `/proc` and a filter that lets userfaultfd(2) through. After that it takes `ioctl` on its two
/// descriptors, or `pread64`.
pub struct Tracker {
    pagemap: PageMap,
    userfault: Option<Userfault>,
}

impl Tracker {
    /// Uses the best method that this kernel has.
    ///
    /// # Errors
    /// There is no page map.
    pub fn open() -> Result<Self, Error> {
        PageMap::open().map(Self::over)
    }

    /// The same with the page map that this process opened.
    pub fn over(pagemap: PageMap) -> Self {
        let userfault = match pagemap.scans() {
            true => Userfault::open().ok(),
            false => None,
        };
        Self { pagemap, userfault }
    }

    /// The descriptors that it needs for as long as it lives.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let userfault = self.userfault.as_ref().map(|userfault| userfault.as_fd());
        [Some(self.pagemap.descriptor()), userfault]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Uses this method.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this kernel hasn't got it, and what it refuses.
    pub fn with(method: Method) -> Result<Self, Error> {
        let pagemap = PageMap::open()?;
        let userfault = match method {
            Method::Compare => None,
            Method::Protect => Some(Userfault::open()?),
        };
        if userfault.is_some() && !pagemap.scans() {
            return Err(super::pagemap::UNSUPPORTED);
        }
        Ok(Self { pagemap, userfault })
    }

    /// Which method it uses.
    pub fn method(&self) -> Method {
        match self.userfault {
            Some(_) => Method::Protect,
            None => Method::Compare,
        }
    }

    /// Begins with pages that were just mapped: at the start, and for those that a memory grew by.
    /// What was written to them before counts as written; but pages that were written and only then
    /// watched stay a mapping of their own, of which a process can't have many.
    ///
    /// # Errors
    /// The region has fewer pages, or the kernel refuses.
    pub fn watch(&self, region: &Region, pages: Range<usize>) -> Result<(), Error> {
        match &self.userfault {
            Some(userfault) => userfault.register(region, pages),
            None => super::file::inside(&pages, region.pages()),
        }
    }

    /// Adds the written pages, and lets them be written: for what is rolled back.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn look(
        &self,
        region: &Region,
        pages: Range<usize>,
        committed: &Reader,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        self.find(region, pages, committed, Then::Leave, runs)
    }

    /// Adds the written pages, and begins anew: they are found again only when they are written
    /// again, so whoever takes them also commits them. Page `i` of the region is page `i` of
    /// `committed`, which must have all that was taken before. Nothing may write meanwhile.
    ///
    /// # Errors
    /// The region or the file has fewer pages, [`Error::Untracked`], or the kernel refuses; nothing
    /// can be told of these pages then until all of them were forgotten.
    pub fn take(
        &self,
        region: &Region,
        pages: Range<usize>,
        committed: &Reader,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        self.find(region, pages, committed, Then::Protect, runs)
    }

    fn find(
        &self,
        region: &Region,
        pages: Range<usize>,
        committed: &Reader,
        then: Then,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        match self.userfault {
            Some(_) => self.pagemap.written(region, pages, then, runs),
            None => self.pagemap.differing(region, pages, committed, runs),
        }
    }

    /// Adds the pages of a mapping that isn't watched which are no longer the file's: what a query
    /// wrote, to be forgotten.
    ///
    /// # Errors
    /// The region has fewer pages, or the kernel refuses.
    pub fn private(
        &self,
        region: &Region,
        pages: Range<usize>,
        runs: &mut Runs,
    ) -> Result<(), Error> {
        self.pagemap.private(region, pages, runs)
    }
}

#[cfg(test)]
mod tests;
