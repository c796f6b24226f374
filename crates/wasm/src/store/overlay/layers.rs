//! Several files of pages, the newest on top: what they hold together, and when they become one.
//!
//! A checkpoint writes one file. It takes the place of as many of the newest ones before it as
//! [`replaced`] says: then it holds their pages too. All of these are in memory, so nothing is read
//! for that but which pages they were.

use super::super::{Document, StoreError};
use super::Overlay;
use crate::store::disk::File;
use casemate_sys::pages::{Committed, PAGE, Run, Runs};
use std::path::Path;

/// The most files that a canister's memory lies in.
pub(in crate::store) const MOST: usize = 7;
/// A file is left as it is if it is so many times as large as what would be added to it.
const WORTH: u64 = 3;
/// Fewer pages than this that follow each other aren't given back by themselves: they wait for
/// their file to be replaced.
const LEAST_PUNCHED: usize = 16;

/// How many of the newest files a new one takes the place of, given what each takes and what the
/// new one would take alone, bytes; the oldest first.
///
/// With no more than [`MOST`] files in all, none. Otherwise one at least, and then as many as are
/// less than three times what is above them: a large one waits until there is enough to add to it.
/// How often a page is written again then grows very slowly, however many checkpoints there are.
pub(in crate::store) fn replaced(sizes: &[u64], new: u64) -> usize {
    if sizes.len() < MOST {
        return 0;
    }
    let mut count = 0;
    let mut together = new;
    for size in sizes.iter().rev() {
        if count > 0 && *size >= together.saturating_mul(WORTH) {
            break;
        }
        together = together.saturating_add(*size);
        count += 1;
    }
    count
}

/// What a file takes on the disk, bytes; one that isn't there takes nothing.
pub(in crate::store) fn taken(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    const BLOCK: u64 = 512;
    std::fs::metadata(path).map_or(0, |found| found.blocks().saturating_mul(BLOCK))
}

/// Gives back what a newer file says of the same pages.
pub(in crate::store) fn punch(path: &Path, newer: [&Runs; 2]) -> Result<(), StoreError> {
    let overlay = Overlay::of(File::change(path)?)?;
    for (memory, newer) in newer.into_iter().enumerate() {
        for (place, run) in overlay.data_of(memory, newer) {
            if run.len() >= LEAST_PUNCHED {
                let at = (place * PAGE) as u64;
                overlay.file.punch(at..at + (run.len() * PAGE) as u64)?;
            }
        }
    }
    Ok(())
}

/// Puts what a canister's files hold into its memories, heap and stable, which are zero. Each page is
/// read once, from the newest file that has it, and what is zero isn't read at all.
pub fn load(
    home: &Path,
    document: &Document,
    memories: [&mut Committed; 2],
) -> Result<(), StoreError> {
    visit(home, document, memories, |memory, first, bytes| {
        let end = first.saturating_add(bytes.len() / PAGE);
        let mut window = memory.map(end).map_err(|why| why.to_string())?;
        window.write(first, bytes).map_err(|why| why.to_string())
    })
}

/// Each page that isn't zero, with what is kept for its memory, several at once.
pub(in crate::store) fn visit<T>(
    home: &Path,
    document: &Document,
    mut memories: [T; 2],
    mut take: impl FnMut(&mut T, usize, &[u8]) -> Result<(), String>,
) -> Result<(), StoreError> {
    let mut seen: [Runs; 2] = Default::default();
    for number in document.overlays.iter().rev() {
        let overlay = Overlay::open(&Document::overlay(home, *number))?;
        for (which, memory) in memories.iter_mut().enumerate() {
            let runs = overlay.runs(which);
            let wanted = runs.without(&seen[which]);
            overlay.read(which, &wanted, |first, bytes| take(memory, first, bytes))?;
            seen[which].extend(runs.as_slice().iter().copied());
        }
    }
    Ok(())
}

/// All pages of a memory.
pub(in crate::store) fn whole(memory: &Committed) -> Runs {
    let end = memory.pages();
    [Run { start: 0, end }].into_iter().collect()
}
