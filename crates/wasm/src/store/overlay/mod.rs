//! Pages in a file: their bytes, and after them which they are.
//!
//! ```text
//!  page data …                     4096 bytes each, in the order of the index
//!  index: (kind, first, count)     u64 each; bit 0 of the kind: 0 is the heap, 1 stable memory;
//!                                  bit 1: all of them are zero, and have no data
//!  sums                            CRC-32 of each page's data, u32 each
//!  entries u64 · pages u64 · CRC-32 of index and sums u32 · version u32 · magic
//! ```
//!
//! The index is at the end, so that the pages lie as they would in a mapping. A page of zeros takes
//! no space: in an overlay the index says that it is zero now, and in the lowest of a canister's
//! files, its base, it isn't mentioned, for nothing is below. What a page's data was is known by its
//! sum, so one that the disk changed is named when it is read.
//!
//! - [`write`](mod@write): a file of what memory holds
//! - [`layers`]: several of them, the newest on top

pub(super) mod layers;
pub(super) mod write;

pub use layers::load;
pub use write::{Base, write_overlay};

use super::StoreError;
use super::disk::File;
use casemate_sys::pages::{PAGE, Run, Runs};
use std::path::Path;

const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"casepage";
const FOOTER: u64 = 32;
const ENTRY: u64 = 24;
const SUM: u64 = 4;
/// Pages that are read or written at once.
pub(super) const AT_ONCE: usize = 64;

/// A stretch of pages of one of the two memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    memory: usize,
    is_zero: bool,
    run: Run,
}

/// A file of pages.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    index: Vec<Entry>,
    /// Of the data, page for page.
    sums: Vec<u32>,
}

impl Overlay {
    /// Opens one and reads its index.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::of(File::open(path)?)
    }

    fn of(file: File) -> Result<Self, StoreError> {
        let length = file.length()?;
        let damaged = |at: u64, what: &str| StoreError::damaged(file.path(), at, what);
        let Some(end) = length.checked_sub(FOOTER) else {
            return Err(damaged(length, "it ends too early"));
        };
        let mut footer = [0; FOOTER as usize];
        file.read(&mut footer, end)?;
        if !footer.ends_with(MAGIC) {
            return Err(damaged(end + 24, "no overlay ends like this"));
        }
        if u32::from_le_bytes(part(&footer, 20)) != VERSION {
            let what = "a version that this program doesn't know";
            return Err(damaged(end + 20, what));
        }
        let (entries, pages) = (number(&footer, 0), number(&footer, 8));
        let size = entries.checked_mul(ENTRY).and_then(|size| {
            let sums = pages.checked_mul(SUM)?;
            size.checked_add(sums)
        });
        let Some(start) = size.and_then(|size| end.checked_sub(size)) else {
            return Err(damaged(end, "an index that is longer than the file"));
        };
        if pages.checked_mul(PAGE as u64) != Some(start) {
            let what = "an index of more or fewer pages than there are";
            return Err(damaged(start, what));
        }
        let mut bytes = vec![0; (end - start) as usize];
        file.read(&mut bytes, start)?;
        if crc32fast::hash(&bytes) != u32::from_le_bytes(part(&footer, 16)) {
            return Err(damaged(start, "an index with another checksum"));
        }
        let (index, sums) = bytes.split_at((entries * ENTRY) as usize);
        let index = entries_of(index).map_err(|at| damaged(start + at, "an entry of nothing"))?;
        let found: u64 = data(&index).map(|entry| entry.run.len() as u64).sum();
        if found != pages {
            return Err(damaged(
                start,
                "an index of more or fewer pages than it says",
            ));
        }
        let sums = sums.chunks_exact(SUM as usize);
        let sums = sums.map(|sum| u32::from_le_bytes(part(sum, 0))).collect();
        Ok(Self { file, index, sums })
    }

    /// The pages of a memory that it says anything of.
    #[must_use]
    pub fn runs(&self, memory: usize) -> Runs {
        let entries = self.index.iter().filter(|entry| entry.memory == memory);
        entries.map(|entry| entry.run).collect()
    }

    /// Those of these pages of a memory that aren't zero: the first one's number and their bytes,
    /// several at once.
    pub fn read(
        &self,
        memory: usize,
        wanted: &Runs,
        mut take: impl FnMut(usize, &[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let mut buffer = vec![0; AT_ONCE * PAGE];
        for (first, run) in self.data_of(memory, wanted) {
            for start in run.pages().step_by(AT_ONCE) {
                let count = AT_ONCE.min(run.end - start);
                let place = first + (start - run.start);
                let bytes = &mut buffer[..count * PAGE];
                self.file.read(bytes, (place * PAGE) as u64)?;
                self.check(memory, start, place, bytes)?;
                take(start, bytes).map_err(|what| {
                    StoreError::damaged(self.file.path(), (place * PAGE) as u64, what)
                })?;
            }
        }
        Ok(())
    }

    /// That pages which lie at a place of the file are what was written there.
    fn check(
        &self,
        memory: usize,
        first: usize,
        place: usize,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        for (number, page) in bytes.chunks_exact(PAGE).enumerate() {
            if self.sums.get(place + number) != Some(&crc32fast::hash(page)) {
                let memory = ["the heap", "stable memory"][memory & 1];
                let what = format!("page {} of {memory} has another checksum", first + number);
                let at = ((place + number) * PAGE) as u64;
                return Err(StoreError::damaged(self.file.path(), at, what));
            }
        }
        Ok(())
    }

    /// Stretches of data, each with its place in the file, pages.
    fn data_of<'a>(
        &'a self,
        memory: usize,
        wanted: &'a Runs,
    ) -> impl Iterator<Item = (usize, Run)> + 'a {
        let mut place = 0;
        let placed = data(&self.index).map(move |entry| {
            let first = place;
            place += entry.run.len();
            (first, entry)
        });
        let mut wanted = wanted.as_slice().iter().copied().peekable();
        let mut found = Vec::new();
        for (first, entry) in placed.filter(|(_, entry)| entry.memory == memory) {
            while let Some(next) = wanted.peek().filter(|next| next.start < entry.run.end) {
                let run = Run {
                    start: next.start.max(entry.run.start),
                    end: next.end.min(entry.run.end),
                };
                if !run.is_empty() {
                    found.push((first + (run.start - entry.run.start), run));
                }
                if next.end > entry.run.end {
                    break;
                }
                wanted.next();
            }
        }
        found.into_iter()
    }
}

/// The entries that have data.
fn data(index: &[Entry]) -> impl Iterator<Item = &Entry> {
    index.iter().filter(|entry| !entry.is_zero)
}

/// The entries of an index, or where it is wrong. They are in order: the heap's first, and none
/// says anything of a page that another has.
fn entries_of(bytes: &[u8]) -> Result<Vec<Entry>, u64> {
    let mut index: Vec<Entry> = Vec::new();
    for (position, entry) in bytes.chunks_exact(ENTRY as usize).enumerate() {
        let at = position as u64 * ENTRY;
        let [kind, first, count] = [0, 8, 16].map(|from| number(entry, from));
        let run = Run {
            start: usize::try_from(first).map_err(|_| at)?,
            end: first
                .checked_add(count)
                .and_then(|end| usize::try_from(end).ok())
                .ok_or(at)?,
        };
        let memory = (kind & 1) as usize;
        let is_behind = index.last().is_none_or(|last| {
            last.memory < memory || last.memory == memory && last.run.end <= run.start
        });
        if kind > 3 || run.is_empty() || !is_behind {
            return Err(at);
        }
        index.push(Entry {
            memory,
            is_zero: kind & 2 != 0,
            run,
        });
    }
    Ok(index)
}

fn number(bytes: &[u8], from: usize) -> u64 {
    u64::from_le_bytes(part(bytes, from))
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    if let Some(slice) = bytes.get(from..from + N) {
        part.copy_from_slice(slice);
    }
    part
}

#[cfg(test)]
mod tests;
