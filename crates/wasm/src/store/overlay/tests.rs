use super::super::Document;
use super::layers::{MOST, load, punch, replaced, taken};
use super::*;
use crate::call::{Principal, Statics};
use crate::guest::State;
use casemate_sys::pages::Committed;
use proptest::prelude::*;
use std::fs;

/// Pages of each memory.
const PAGES: usize = 64;

fn memories() -> [Committed; 2] {
    ["heap", "stable"].map(|name| Committed::new(name, PAGES).unwrap())
}

fn bytes_of(seed: u8) -> Vec<u8> {
    (0..PAGE)
        .map(|at| (at as u8).wrapping_mul(31) & seed)
        .collect()
}

fn put(memory: &mut Committed, page: usize, seed: u8) {
    memory
        .map(page + 1)
        .unwrap()
        .write(page, &bytes_of(seed))
        .unwrap();
}

fn get(memory: &Committed, page: usize) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    memory.read(page, &mut bytes).unwrap();
    bytes
}

fn runs(runs: &[(usize, usize)]) -> Runs {
    runs.iter()
        .map(|(start, end)| Run {
            start: *start,
            end: *end,
        })
        .collect()
}

fn document(overlays: &[u64]) -> Document {
    let statics = Statics::of(Principal::of_canister(1));
    let mut document = Document::of(&statics, &[0; 32], &State::default());
    document.overlays = overlays.to_vec();
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Files with any pages, zeros among them, read together give what memory was when the last one
    /// was written.
    #[test]
    fn the_newest_page_wins(
        steps in prop::collection::vec(
            prop::collection::vec((0..2_usize, 0..PAGES, 0..3_u8), 0..60), 1..6
        )
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = memories();
        for (number, step) in steps.iter().enumerate() {
            let mut written: [Runs; 2] = Default::default();
            for (which, page, seed) in step {
                // Zero, or one of two patterns.
                put(&mut memory[*which], *page, [0, 0x55, 0xff][*seed as usize]);
                written[*which].extend([Run { start: *page, end: *page + 1 }]);
            }
            let path = Document::overlay(folder.path(), number as u64);
            let base = if number == 0 { Base::Lowest } else { Base::OnTop };
            let [heap, stable] = &memory;
            write_overlay(&path, [&written[0], &written[1]], [heap, stable], base, false).unwrap();
        }
        let mut found = memories();
        let [heap, stable] = &mut found;
        let numbers: Vec<u64> = (0..steps.len() as u64).collect();
        load(folder.path(), &document(&numbers), [heap, stable]).unwrap();
        for (found, expected) in found.iter().zip(&memory) {
            for page in 0..PAGES {
                prop_assert!(get(found, page) == get(expected, page), "page {}", page);
            }
        }
    }
}

/// A file of the pages 3 (data) and 4, 5 (zeros) of the heap, and 7 of stable memory.
fn example(path: &Path) {
    let [mut heap, mut stable] = memories();
    put(&mut heap, 3, 0x0f);
    put(&mut heap, 5, 0);
    put(&mut stable, 7, 0xff);
    let (of_heap, of_stable) = (runs(&[(3, 6)]), runs(&[(7, 8)]));
    write_overlay(
        path,
        [&of_heap, &of_stable],
        [&heap, &stable],
        Base::OnTop,
        true,
    )
    .unwrap();
}

/// Files of earlier versions of this program are read as long as this holds.
#[test]
fn the_format_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example");
    example(&path);
    let written = fs::read(&path).unwrap();
    let golden = include_bytes!("golden.pages");
    assert!(written == golden, "the format of overlays changed");
    let overlay = Overlay::open(&path).unwrap();
    assert_eq!(overlay.runs(0), runs(&[(3, 6)]));
    assert_eq!(overlay.runs(1), runs(&[(7, 8)]));
    assert_eq!(written.len(), 2 * PAGE + 3 * 24 + 2 * 4 + 32);
}

#[test]
fn each_byte_that_was_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example");
    example(&path);
    let whole = fs::read(&path).unwrap();
    let read = |bytes: &[u8]| -> Result<(), StoreError> {
        fs::write(&path, bytes).unwrap();
        let overlay = Overlay::open(&path)?;
        for memory in 0..2 {
            overlay.read(memory, &overlay.runs(memory), |_, _| Ok(()))?;
        }
        Ok(())
    };
    read(&whole).unwrap();
    let pages = (0..2 * PAGE).step_by(97);
    for at in pages.chain(2 * PAGE..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let said = read(&bytes).unwrap_err().to_string();
        assert!(
            said.contains("example: ") && said.contains("at byte"),
            "{at}: {said}"
        );
    }
    let mut bytes = whole.clone();
    bytes[PAGE + 5] ^= 1;
    let said = read(&bytes).unwrap_err().to_string();
    assert!(
        said.contains("page 7 of stable memory has another checksum at byte 4096"),
        "{said}"
    );
    for length in [0, 31, 32, 64, PAGE, whole.len() - 1] {
        read(&whole[..length]).unwrap_err();
    }
}

/// An index whose checksum is right is still not believed.
#[test]
fn an_index_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged");
    let forge = |entries: &[[u64; 3]], says: (u64, u64)| {
        let mut index: Vec<u8> = entries
            .iter()
            .flatten()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        let sum = crc32fast::hash(&index);
        index.extend(says.0.to_le_bytes());
        index.extend(says.1.to_le_bytes());
        index.extend(sum.to_le_bytes());
        index.extend(VERSION.to_le_bytes());
        index.extend(MAGIC);
        fs::write(&path, index).unwrap();
        Overlay::open(&path)
            .map(drop)
            .map_err(|why| why.to_string())
    };
    forge(&[[2, 0, 9], [3, 0, 9]], (2, 0)).unwrap();
    for (entries, says) in [
        (&[[2, 0, 9], [2, 8, 9]][..], (2, 0)),
        (&[[3, 0, 9], [2, 0, 9]], (2, 0)),
        (&[[2, 0, 0]], (1, 0)),
        (&[[4, 0, 1]], (1, 0)),
        (&[[2, u64::MAX, 1]], (1, 0)),
        (&[[2, 1, u64::MAX]], (1, 0)),
        (&[[0, 0, 1]], (1, 0)),
        (&[[2, 0, 1]], (2, 0)),
        (&[[2, 0, 1]], (u64::MAX, 0)),
        (&[[2, 0, 1]], (1 << 60, 0)),
        (&[[2, 0, 1]], (1, u64::MAX)),
    ] {
        let said = forge(entries, says).unwrap_err();
        assert!(said.contains("forged: "), "{said}");
    }
}

/// Zeros take no disk, in memory or in a file.
#[test]
fn zeros_take_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeros");
    let [mut heap, stable] = memories();
    for page in 0..40 {
        put(&mut heap, page, u8::from(page == 30));
    }
    let of_heap = runs(&[(0, PAGES)]);
    let all = [&of_heap, &of_heap];
    for (base, entries) in [(Base::OnTop, 4), (Base::Lowest, 1)] {
        write_overlay(&path, all, [&heap, &stable], base, false).unwrap();
        let length = fs::metadata(&path).unwrap().len() as usize;
        assert_eq!(length, PAGE + entries * 24 + 4 + 32);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_covered_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = Document::overlay(folder.path(), 0);
    let [mut heap, mut stable] = memories();
    for page in 0..PAGES {
        put(&mut heap, page, 0xff);
        put(&mut stable, page, 0xff);
    }
    let all = runs(&[(0, PAGES)]);
    write_overlay(&path, [&all, &all], [&heap, &stable], Base::Lowest, true).unwrap();
    let before = taken(&path);
    assert!(before >= 2 * (PAGES * PAGE) as u64);
    // Too few pages to be worth it, and twice enough.
    let newer = runs(&[(0, 2), (10, 30)]);
    punch(&path, [&newer, &runs(&[(40, PAGES)])]).unwrap();
    assert_eq!(before - taken(&path), ((20 + PAGES - 40) * PAGE) as u64);
    // What is left is as it was.
    let overlay = Overlay::open(&path).unwrap();
    let left = [runs(&[(0, 10), (30, PAGES)]), runs(&[(0, 40)])];
    for (memory, left) in left.iter().enumerate() {
        let mut count = 0;
        let read = overlay.read(memory, left, |_, bytes| {
            count += bytes.len() / PAGE;
            Ok(())
        });
        read.unwrap();
        assert_eq!(count, left.pages());
    }
    overlay.read(0, &newer, |_, _| Ok(())).unwrap_err();
}

/// Ten thousand checkpoints, each with pages of its own: never more than so many files, and a page
/// is written few times.
#[test]
fn a_page_is_seldom_written_again() {
    let mut random = 1_u64;
    for (most, large) in [(1, 0), (100, 0), (1, 100_000)] {
        let mut sizes: Vec<u64> = vec![large];
        let (mut asked, mut written) = (0, 0);
        for _ in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let new = 1 + (random >> 33) % most;
            let count = replaced(&sizes, new);
            let together = sizes.drain(sizes.len() - count..).sum::<u64>() + new;
            sizes.push(together);
            asked += new;
            written += together;
            assert!(sizes.len() <= MOST);
        }
        assert!(written <= 12 * asked + large, "{written} of {asked}");
    }
    // A small change of a large canister stays small.
    assert_eq!(replaced(&[1 << 30, 4, 4, 4, 4, 4, 4], 4), 6);
    assert_eq!(
        replaced(&[1 << 30, 1 << 25, 1 << 20, 1 << 15, 1 << 10, 32, 2], 1),
        1
    );
    assert_eq!(replaced(&[1; 6], 1), 0);
}

#[test]
fn nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there");
    example(&path);
    let [heap, stable] = memories();
    let none = Runs::default();
    write_overlay(&path, [&none, &none], [&heap, &stable], Base::OnTop, false).unwrap_err();
}
