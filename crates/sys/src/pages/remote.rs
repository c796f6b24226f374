//! Reading the memory of another process (process_vm_readv(2)): many runs of pages in one call,
//! straight to where they belong.
//!
//! The other process takes no part in it, and can't stop it from being read or change where it is
//! read to. What it can do is not have the pages, or change them meanwhile: that is an error or the
//! content of its own memory, nothing else.
//!
//! Who may read whom (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS), as found out by trying:
//!
//! | the process read, of the same user, no privilege | |
//! |---|---|
//! | one that may be looked at (PR_SET_DUMPABLE is 1) | yes |
//! | one that may not | no |
//! | one that may not, and is in a user namespace that this user made | no |
//! | the same, and it has executed a program in there | yes |
//!
//! In a user namespace its owner has every capability. But whether a process may be looked at is a
//! property of its memory, and memory belongs to the namespace that it was made in, which is that of
//! the last execve(2). Where Yama is on (`kernel.yama.ptrace_scope`), its modes 1 and 2 want the same
//! capability, in mode 1 only of who isn't an ancestor; in its mode 3 nobody may.
//!
//! A process is named by its id here: it has to be a child that wasn't waited for yet, or the id may
//! be another's by now.

use super::{Error, Mapped, PAGE, Run, Runs};
use crate::{Errno, check};

/// The most runs in one call (IOV_MAX).
const RUNS: usize = 1024;
/// The most pages in one call: the kernel cuts off what is longer than 2 GiB.
const PAGES: usize = (256 << 20) / PAGE;

/// Another process, and the address of its page 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its id.
    pub process: i32,
    /// Where its page 0 begins.
    pub address: u64,
}

impl Source {
    /// Reads these pages to the same ones of committed memory, in place.
    ///
    /// # Errors
    /// [`Error::Outside`], and then nothing was read. [`Error::Unread`] says how many pages were, and
    /// these are overwritten by then: another process can end at any time. Where all or nothing is to
    /// be committed, [`stage`](Self::stage) them first.
    pub fn pull(self, runs: &Runs, to: &mut Mapped<'_>) -> Result<(), Error> {
        fits(runs, to)?;
        let start = to.start();
        // SAFETY: all of them are inside of the mapping, which is borrowed exclusively.
        unsafe { self.read(runs, |_, page| start.wrapping_add(page * PAGE)) }
    }

    /// Reads these pages one after the other.
    ///
    /// # Errors
    /// [`Error::Outside`] unless there is room for exactly these, and [`Error::Unread`].
    pub fn stage(self, runs: &Runs, to: &mut [u8]) -> Result<(), Error> {
        let (pages, room) = (runs.pages(), to.len() / PAGE);
        if pages != room || !to.len().is_multiple_of(PAGE) {
            return Err(Error::Outside {
                end: pages,
                pages: room,
            });
        }
        let start = to.as_mut_ptr();
        // SAFETY: as many as there is room for, one after the other, and it is borrowed exclusively.
        unsafe { self.read(runs, |before, _| start.wrapping_add(before * PAGE)) }
    }

    /// Reads in as few calls as there may be; `to` says where a page goes, of which so many came
    /// before.
    ///
    /// # Safety
    /// From the address that `to` gives for a run's page on, there is memory to write to for all that
    /// follow it in the run.
    unsafe fn read(self, runs: &Runs, to: impl Fn(usize, usize) -> *mut u8) -> Result<(), Error> {
        let mut batch = Batch::default();
        let mut before = 0;
        for run in runs.as_slice() {
            for start in run.pages().step_by(PAGES) {
                let end = run.end.min(start.saturating_add(PAGES));
                let part = Run { start, end };
                if batch.parts.len() == RUNS || batch.pages + part.len() > PAGES {
                    // SAFETY: the caller's.
                    unsafe { batch.read(self, before - batch.pages) }?;
                }
                batch.add(self, part, to(before, start));
                before += part.len();
            }
        }
        // SAFETY: the caller's.
        unsafe { batch.read(self, before - batch.pages) }
    }
}

/// What one call reads.
#[derive(Default)]
struct Batch {
    parts: Vec<Run>,
    pages: usize,
    theirs: Vec<libc::iovec>,
    ours: Vec<libc::iovec>,
}

impl Batch {
    fn add(&mut self, source: Source, part: Run, to: *mut u8) {
        let iov_len = part.len() * PAGE;
        let offset = (part.start as u64).wrapping_mul(PAGE as u64);
        self.theirs.push(libc::iovec {
            iov_base: source.address.wrapping_add(offset) as *mut libc::c_void,
            iov_len,
        });
        self.ours.push(libc::iovec {
            iov_base: to.cast(),
            iov_len,
        });
        self.pages += part.len();
        self.parts.push(part);
    }

    /// Reads what was added, and begins anew.
    ///
    /// # Safety
    /// There is memory to write to wherever one of `ours` says so.
    unsafe fn read(&mut self, source: Source, before: usize) -> Result<(), Error> {
        let count = self.parts.len() as libc::c_ulong;
        if count == 0 {
            return Ok(());
        }
        let (ours, theirs) = (self.ours.as_ptr(), self.theirs.as_ptr());
        // SAFETY: both lists have so many entries. What ours point to is the caller's; theirs are
        // another process's addresses, which the kernel checks.
        let result =
            unsafe { libc::process_vm_readv(source.process, ours, count, theirs, count, 0) };
        let unread = |read, why| Error::Unread {
            process: source.process,
            read: before + read,
            page: nth(&self.parts, read),
            why,
        };
        match check(result as libc::c_long) {
            Err(errno) => return Err(unread(0, Some(errno))),
            Ok(bytes) if bytes as usize != self.pages * PAGE => {
                return Err(unread(bytes as usize / PAGE, None));
            }
            Ok(_) => {}
        }
        self.parts.clear();
        self.theirs.clear();
        self.ours.clear();
        self.pages = 0;
        Ok(())
    }
}

/// The page before which `before` others come.
fn nth(parts: &[Run], mut before: usize) -> usize {
    for part in parts {
        if before < part.len() {
            return part.start + before;
        }
        before -= part.len();
    }
    parts.last().map_or(0, |part| part.end)
}

/// Refuses runs of which something isn't shown.
fn fits(runs: &Runs, to: &Mapped<'_>) -> Result<(), Error> {
    let runs = runs.as_slice();
    match (runs.first(), runs.last()) {
        (Some(first), Some(last)) => to.shows(&(first.start..last.end)),
        _ => Ok(()),
    }
}

impl Mapped<'_> {
    /// Copies pages that were [staged](Source::stage) to where they belong.
    ///
    /// # Errors
    /// [`Error::Outside`] unless these are exactly so many pages that are all there. Nothing was
    /// written then.
    pub fn write_staged(&mut self, runs: &Runs, staged: &[u8]) -> Result<(), Error> {
        fits(runs, self)?;
        let (pages, room) = (runs.pages(), staged.len() / PAGE);
        if pages != room || !staged.len().is_multiple_of(PAGE) {
            return Err(Error::Outside {
                end: pages,
                pages: room,
            });
        }
        let mut left = staged;
        for run in runs.as_slice() {
            let (content, rest) = left.split_at(run.len() * PAGE);
            self.write(run.start, content)?;
            left = rest;
        }
        Ok(())
    }
}

/// Whether process_vm_readv(2) reads a process at all: EPERM if not.
///
/// # Errors
/// The kernel's answer.
pub fn may_read(process: i32) -> Result<(), Errno> {
    // A process whose address can't be read but which may be looked at says so with EFAULT.
    match crate::process::read_memory(process, 0, &mut [0]) {
        Ok(_) | Err(Errno::FAULT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
