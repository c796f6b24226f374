//! PAGEMAP_SCAN: which pages of a range are of a kind, and protecting them in the same call
//! (Documentation/admin-guide/mm/pagemap.rst).
//!
//! It has traps. A scan can stop early after it has returned pages from behind where it stopped;
//! going on from there returns those again, so what it returns is a set and never a count. A scan
//! that protects has already protected those, so they must not be cut off either: they won't be
//! returned again. And a scan that protects passes in silence over what isn't tracked unless it is
//! told to object (PM_SCAN_CHECK_WPASYNC).

use super::abi::{Found, PAGEMAP_SCAN, PRESENT, Scan};
use super::{Region, Runs, Then};
use crate::pages::Run;
use crate::pages::{Error, PAGE};
use crate::{Errno, check};
use rustix::fd::AsRawFd;
use std::fs::File;
use std::mem::MaybeUninit;
use std::ops::Range;

/// `PM_SCAN_WP_MATCHING`: protect what is found.
const PROTECT: u64 = 1 << 0;
/// `PM_SCAN_CHECK_WPASYNC`: object (EPERM) to what isn't tracked.
const ALL_TRACKED: u64 = 1 << 1;
/// `PAGE_IS_WRITTEN`: not write-protected.
const WRITTEN: u64 = 1 << 1;
/// `PAGE_IS_FILE`: of a file, or shared.
const FILE: u64 = 1 << 2;
/// `PAGE_IS_SWAPPED`.
const SWAPPED: u64 = 1 << 4;
/// `PAGE_IS_PFNZERO`: the page of zeros that stands for anonymous memory which was only read.
const ZERO: u64 = 1 << 5;

/// How many ranges one call can return.
const MOST: usize = 2048;

/// What is said where there is no such call.
pub(in crate::pages) const UNSUPPORTED: Error = Error::Unsupported {
    feature: "scan of a process's pages (PAGEMAP_SCAN)",
    needs: "Linux 6.7",
};

/// What is looked for: all of the one and any of the other, none of `FILE` and `ZERO`.
struct Question {
    flags: u64,
    all_of: u64,
    any_of: u64,
}

pub(super) fn private(
    file: &File,
    region: &Region,
    pages: Range<usize>,
    runs: &mut Runs,
) -> Result<(), Error> {
    let question = Question {
        flags: 0,
        all_of: 0,
        any_of: PRESENT | SWAPPED,
    };
    scan(file, region, pages, &question, &mut room(), runs)
}

pub(super) fn written(
    file: &File,
    region: &Region,
    pages: Range<usize>,
    then: Then,
    runs: &mut Runs,
) -> Result<(), Error> {
    let question = question(then);
    scan(file, region, pages, &question, &mut room(), runs)
}

/// Room for what one call returns. To fill it with zeros takes longer than a scan that finds little.
fn room() -> [MaybeUninit<Found>; MOST] {
    [const { MaybeUninit::uninit() }; MOST]
}

fn question(then: Then) -> Question {
    Question {
        flags: match then {
            Then::Protect => ALL_TRACKED | PROTECT,
            Then::Leave => ALL_TRACKED,
        },
        all_of: WRITTEN,
        // To some kernels a page that isn't there is one that was written.
        any_of: PRESENT | SWAPPED,
    }
}

/// Asks until the end is reached, however little comes back at once.
fn scan(
    file: &File,
    region: &Region,
    pages: Range<usize>,
    question: &Question,
    buffer: &mut [MaybeUninit<Found>],
    runs: &mut Runs,
) -> Result<(), Error> {
    let base = region.start() as u64;
    let (mut start, end) = (address(base, pages.start), address(base, pages.end));
    while start < end {
        let (found, reached) = ask(file, question, start..end, buffer).map_err(refused)?;
        runs.extend(found.iter().map(|found| Run {
            start: page(base, found.start),
            end: page(base, found.end),
        }));
        if reached <= start {
            return Err(refused(Errno::IO));
        }
        start = reached;
    }
    Ok(())
}

fn address(base: u64, page: usize) -> u64 {
    base + (page * PAGE) as u64
}

fn page(base: u64, address: u64) -> usize {
    address.saturating_sub(base) as usize / PAGE
}

fn refused(errno: Errno) -> Error {
    match errno {
        Errno::PERM => Error::Untracked,
        Errno::NOTTY => UNSUPPORTED,
        why => Error::Refused {
            tried: "asking which pages were written (PAGEMAP_SCAN)",
            why,
        },
    }
}

/// One call: the ranges that it found, and the address that it got to.
fn ask<'a>(
    file: &File,
    question: &Question,
    range: Range<u64>,
    found: &'a mut [MaybeUninit<Found>],
) -> Result<(&'a [Found], u64), Errno> {
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        flags: question.flags,
        start: range.start,
        end: range.end,
        found: found.as_mut_ptr() as u64,
        found_length: found.len() as u64,
        inverted: FILE | ZERO,
        all_of: question.all_of | FILE | ZERO,
        any_of: question.any_of,
        returned: PRESENT,
        ..Scan::default()
    };
    // SAFETY: the request reads and writes one pm_scan_arg, and writes at most `found_length` entries
    // to `found`; both outlive the call. Pages are looked at, and at most write-protected in a way
    // that the next write undoes.
    let count =
        check(unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) }.into())?;
    let found = found.get(..count as usize).ok_or(Errno::IO)?;
    // SAFETY: the kernel says that it wrote so many, each of which is numbers.
    let found = unsafe { &*(std::ptr::from_ref(found) as *const [Found]) };
    Ok((found, scan.walk_end))
}

/// Whether there is such a call.
pub(super) fn works(file: &File) -> Result<bool, Error> {
    let question = Question {
        flags: 0,
        all_of: 0,
        any_of: PRESENT,
    };
    let here = (&raw const question) as u64 / PAGE as u64 * PAGE as u64;
    let range = here..here + PAGE as u64;
    match ask(file, &question, range, &mut [MaybeUninit::uninit()]) {
        Ok(([_], _)) => Ok(true),
        // The stack is this process's own: a kernel that doesn't see that isn't to be relied on.
        Ok(_) | Err(Errno::NOTTY | Errno::NOSYS | Errno::PERM) => Ok(false),
        Err(errno) => Err(refused(errno)),
    }
}

#[cfg(test)]
mod tests;
