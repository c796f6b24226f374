//! `PAGEMAP_SCAN`: which pages of a range have a property, in one call (Linux 6.7).
//! `ioctl_pagemap_scan(2)`.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use super::region::Region;
use super::{Attempt, child};
use crate::pages::pagemap::abi::{Found, PAGEMAP_SCAN, PRESENT, Scan};

/// Maps a few pages in a child, touches one, and lets the kernel find it.
pub fn probe() -> Attempt {
    let steps = child::attempt::<1>(child::LIMIT, |slots| {
        slots.note(0, finds_the_touched_page());
    });
    steps.at(0)
}

fn finds_the_touched_page() -> Result<(), Errno> {
    let region = Region::new(4)?;
    region.touch(2);
    let mut found = [Found::default(); 4];
    let count = scan(&region, &mut found)?;
    let touched = Found {
        start: region.page(2),
        end: region.page(3),
        kinds: PRESENT,
    };
    let right = count == 1 && found[0] == touched;
    right.then_some(()).ok_or(Errno::OPNOTSUPP)
}

fn scan(region: &Region, found: &mut [Found; 4]) -> Result<i32, Errno> {
    let pagemap = File::open("/proc/self/pagemap")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start: region.page(0),
        end: region.page(4),
        found: found.as_mut_ptr() as u64,
        found_length: found.len() as u64,
        all_of: PRESENT,
        returned: PRESENT,
        ..Scan::default()
    };
    let fd = pagemap.as_raw_fd();
    // SAFETY: the request reads and writes one Scan, and writes at most `found_length` entries
    // to `found`; both outlive the call. The range scanned is only looked at.
    child::checked(unsafe { libc::ioctl(fd, PAGEMAP_SCAN, &raw mut scan) }.into())
}
