//! The page map read page by page: eight bytes for each, whether there is one or not
//! (Documentation/admin-guide/mm/pagemap.rst).

use super::{Region, Runs};
use crate::Errno;
use crate::pages::Run;
use crate::pages::{Error, PAGE};
use std::fs::File;
use std::ops::Range;

/// The page is there.
const PRESENT: u64 = 1 << 63;
/// It is swapped out.
const SWAPPED: u64 = 1 << 62;
/// It is a file's, or shared.
const FILE: u64 = 1 << 61;

/// How many pages are asked for at once.
const MOST: usize = 4096;

pub(super) fn private(
    file: &File,
    region: &Region,
    pages: Range<usize>,
    runs: &mut Runs,
) -> Result<(), Error> {
    let mut buffer = vec![0; MOST * 8];
    let first = region.start() as usize / PAGE;
    for start in pages.clone().step_by(MOST) {
        let count = (pages.end - start).min(MOST);
        let entries = &mut buffer[..count * 8];
        read(file, (first + start) as u64 * 8, entries)?;
        let private = entries.chunks_exact(8).zip(start..).filter(|(entry, _)| {
            let entry = <[u8; 8]>::try_from(*entry).map_or(0, u64::from_ne_bytes);
            entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0
        });
        runs.extend(private.map(|(_, page)| Run {
            start: page,
            end: page + 1,
        }));
    }
    Ok(())
}

fn read(file: &File, mut at: u64, mut into: &mut [u8]) -> Result<(), Error> {
    let refused = Error::refused("reading /proc/self/pagemap");
    while !into.is_empty() {
        match rustix::io::pread(file, &mut *into, at) {
            Ok(0) => return Err(refused(Errno::IO)),
            Ok(count) => {
                at += count as u64;
                into = &mut into[count..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    Ok(())
}
