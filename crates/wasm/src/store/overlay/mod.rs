//! Pages in a file: their bytes, and after them which they are.
//!
//! ```text
//!  page data …                     4096 bytes each, in the order of the index
//!  index: (memory, first, count)   u64 each; 0 is the heap, 1 stable memory
//!  entries u64 · CRC-32 of the index u32 · version u32
//! ```
//!
//! The index is at the end, so that the pages lie as they would in a mapping.

use super::StoreError;
use casemate_sys::pages::{Error, PAGE, Run};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
const FOOTER: u64 = 16;
const ENTRY: u64 = 24;
/// More runs than any memory has.
const MOST_ENTRIES: u64 = 1 << 28;

/// Runs of pages of one of the two memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    memory: u64,
    run: Run,
}

/// Writes the pages of these runs of two memories, heap and stable, into a new file.
pub fn write_overlay(
    path: &Path,
    runs: [&[Run]; 2],
    page: impl Fn(usize, usize, &mut [u8; PAGE]) -> Result<(), Error>,
    is_synced: bool,
) -> Result<(), StoreError> {
    let io = |tried| StoreError::io(tried, path);
    let file = File::create_new(path).map_err(io("make"))?;
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    let mut index = Vec::new();
    let mut bytes = [0; PAGE];
    let mut entries = 0_u64;
    for (memory, runs) in runs.into_iter().enumerate() {
        for run in runs {
            for number in run.pages() {
                page(memory, number, &mut bytes)
                    .map_err(|why| StoreError::damaged(path, number as u64, why.to_string()))?;
                writer.write_all(&bytes).map_err(io("write"))?;
            }
            for number in [memory, run.start, run.len()] {
                index.extend((number as u64).to_le_bytes());
            }
            entries += 1;
        }
    }
    let sum = crc32fast::hash(&index);
    index.extend(entries.to_le_bytes());
    index.extend(sum.to_le_bytes());
    index.extend(VERSION.to_le_bytes());
    writer.write_all(&index).map_err(io("write"))?;
    let file = writer.into_inner().map_err(|error| error.into_error());
    let file = file.map_err(io("write"))?;
    match is_synced {
        true => file.sync_all().map_err(io("sync")),
        false => Ok(()),
    }
}

/// A file of pages.
#[derive(Debug)]
pub struct Overlay {
    path: PathBuf,
    file: File,
    index: Vec<Entry>,
}

impl Overlay {
    /// Opens one and reads its index.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let length = file
            .metadata()
            .map_err(StoreError::io("look at", path))?
            .len();
        let damaged = |at: u64, what: &str| StoreError::damaged(path, at, what);
        let Some(end) = length.checked_sub(FOOTER) else {
            return Err(damaged(length, "it ends too early"));
        };
        let mut footer = [0; FOOTER as usize];
        file.read_exact_at(&mut footer, end)
            .map_err(StoreError::io("read", path))?;
        let entries = u64::from_le_bytes(part(&footer, 0));
        let sum = u32::from_le_bytes(part(&footer, 8));
        if u32::from_le_bytes(part(&footer, 12)) != VERSION {
            return Err(damaged(
                end + 12,
                "a version that this program doesn't know",
            ));
        }
        let size = entries
            .checked_mul(ENTRY)
            .filter(|_| entries <= MOST_ENTRIES);
        let Some(start) = size.and_then(|size| end.checked_sub(size)) else {
            return Err(damaged(end, "an index that is longer than the file"));
        };
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start)
            .map_err(StoreError::io("read", path))?;
        if crc32fast::hash(&bytes) != sum {
            return Err(damaged(start, "an index with another checksum"));
        }
        let mut pages = 0_u64;
        let mut index = Vec::new();
        for (number, entry) in bytes.chunks_exact(ENTRY as usize).enumerate() {
            let at = start + number as u64 * ENTRY;
            let [memory, first, count] =
                [0, 8, 16].map(|from| u64::from_le_bytes(part(entry, from)));
            let end = first.checked_add(count);
            let (Some(end), true) = (end, memory < 2 && count > 0) else {
                return Err(damaged(at, "an entry of nothing"));
            };
            pages = pages.saturating_add(count);
            index.push(Entry {
                memory,
                run: Run {
                    start: first as usize,
                    end: end as usize,
                },
            });
        }
        if pages.checked_mul(PAGE as u64) != Some(start) {
            return Err(damaged(
                start,
                "an index of more or fewer pages than there are",
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            index,
        })
    }

    /// Its pages, each with the memory that it is of and its number.
    pub fn read(
        &self,
        mut take: impl FnMut(usize, usize, &[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let mut page = [0; PAGE];
        let mut at = 0;
        for entry in &self.index {
            for number in entry.run.pages() {
                let read = self.file.read_exact_at(&mut page, at);
                read.map_err(StoreError::io("read", &self.path))?;
                take(entry.memory as usize, number, &page)
                    .map_err(|what| StoreError::damaged(&self.path, at, what))?;
                at += PAGE as u64;
            }
        }
        Ok(())
    }
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut part = [0; N];
    if let Some(slice) = bytes.get(from..from + N) {
        part.copy_from_slice(slice);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Pages = BTreeMap<(usize, usize), Vec<u8>>;

    fn page_of(seed: usize) -> Vec<u8> {
        (0..PAGE)
            .map(|at| (at.wrapping_mul(31) ^ seed) as u8)
            .collect()
    }

    fn write(path: &Path, pages: &Pages) -> Result<(), StoreError> {
        let of = |memory| -> Vec<Run> {
            let numbers = pages.keys().filter(|key| key.0 == memory).map(|key| Run {
                start: key.1,
                end: key.1 + 1,
            });
            numbers.collect()
        };
        let (heap, stable) = (of(0), of(1));
        write_overlay(
            path,
            [&heap, &stable],
            |memory, page, into| {
                into.copy_from_slice(&pages[&(memory, page)]);
                Ok(())
            },
            false,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Overlays read in turn give what writing the same pages in turn gives.
        #[test]
        fn the_newest_page_wins(
            steps in prop::collection::vec(
                prop::collection::btree_map((0..2_usize, 0..40_usize), 0..999_usize, 0..30), 1..5
            )
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut model = Pages::new();
            let mut found = Pages::new();
            for (number, step) in steps.into_iter().enumerate() {
                let pages: Pages = step.into_iter().map(|(key, seed)| (key, page_of(seed))).collect();
                let path = folder.path().join(number.to_string());
                write(&path, &pages).unwrap();
                model.extend(pages);
                let overlay = Overlay::open(&path).unwrap();
                overlay.read(|memory, page, bytes| {
                    found.insert((memory, page), bytes.to_vec());
                    Ok(())
                }).unwrap();
            }
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        let pages: Pages = [((0, 3), page_of(1)), ((1, 7), page_of(2))].into();
        write(&path, &pages).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 2 * PAGE + 2 * 24 + 16);
        let error = |bytes: &[u8]| {
            let path = folder.path().join("damaged");
            std::fs::write(&path, bytes).unwrap();
            Overlay::open(&path).unwrap_err().to_string()
        };
        for length in [0, 15, 16, 64, PAGE, whole.len() - 1] {
            let said = error(&whole[..length]);
            assert!(
                said.contains("damaged at") || said.contains(" at byte "),
                "{said}"
            );
        }
        for at in 2 * PAGE..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let said = error(&bytes);
            assert!(said.contains("at byte"), "{at}: {said}");
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("there");
        write(&path, &Pages::new()).unwrap();
        assert!(write(&path, &Pages::new()).is_err());
    }
}
