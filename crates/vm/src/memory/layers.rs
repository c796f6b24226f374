//! Files above each other.
//!
//! What is compared is read: that needs no right over the process that writes there, and is right
//! whoever wrote. Where neither file has data nothing is looked at.

use super::pages;
use super::{PAGE, Ranges};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that compare, at most: memory is what limits them.
const THREADS: usize = 4;
/// What is worth a thread of its own, pieces.
const WORTH: usize = 32;

/// The topmost that has a page counts; one that none has is zero.
#[derive(Debug, Default)]
pub struct Layers(Vec<Layer>);

#[derive(Debug)]
struct Layer {
    file: File,
    /// What it has and none above it.
    shows: Ranges,
}

/// What one thread compares at a time.
struct Piece<'a> {
    pages: Range<u64>,
    old: Option<&'a File>,
}

impl Layers {
    /// Puts a file on top, of which these pages count.
    pub fn put(&mut self, file: File, has: &Ranges) {
        for layer in &mut self.0 {
            layer.shows = layer.shows.without(has);
        }
        let shows = has.clone();
        self.0.push(Layer { file, shows });
    }

    /// Where the first `pages` pages of a file differ from what is here. These pages are copied to
    /// `copy` as they are found, which is not to be one of the layers' unless what it shows is
    /// compared with itself.
    ///
    /// # Errors
    /// One of them can't be read, or the copy not written.
    pub fn differing(&self, new: &File, pages: u64, copy: Option<&File>) -> io::Result<Ranges> {
        let pieces = self.pieces(new, pages)?;
        let end = copy.map(File::metadata).transpose()?.map(|of| of.len());
        let copy = copy.zip(end);
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let work = || -> io::Result<()> {
            let (mut here, mut there, mut own) = (pages::block(), pages::block(), Vec::new());
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let bytes = pages::read(new, piece.pages.clone(), &mut here)?;
                let old = match piece.old {
                    Some(file) => Some(pages::read(file, piece.pages.clone(), &mut there)?),
                    None => None,
                };
                let differing: Ranges = pages::differing(piece.pages.start, old, bytes).collect();
                for range in differing.iter() {
                    if let Some((copy, end)) = copy {
                        let within = |page| ((page - piece.pages.start) * PAGE) as usize;
                        let bytes = &bytes[within(range.start)..within(range.end)];
                        pages::write(copy, range.start, bytes, end)?;
                    }
                    own.push(range);
                }
            }
            let mut found = found
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            found.append(&mut own);
            Ok(())
        };
        let threads = threads(pieces.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for other in others {
                let panicked = |_| Err(io::Error::other("a thread that compares has failed"));
                done = done.and(other.join().unwrap_or_else(panicked));
            }
            done
        })?;
        let found = found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(found.into_iter().collect())
    }

    /// What has to be read: where there is data on either side.
    fn pieces(&self, new: &File, pages: u64) -> io::Result<Vec<Piece<'_>>> {
        let written = Ranges::of_data(new)?;
        let mut rest = Ranges::first(pages);
        let mut pieces = Vec::new();
        let mut add = |set: &Ranges, old| {
            let all = set.iter().flat_map(pages::pieces);
            pieces.extend(all.map(|pages| Piece { pages, old }));
        };
        for Layer { file, shows } in &self.0 {
            let here = shows.intersection(&rest);
            let data = Ranges::of_data(file)?.union(&written);
            add(&data.intersection(&here), Some(file));
            rest = rest.without(&here);
        }
        add(&rest.intersection(&written), None);
        Ok(pieces)
    }
}

fn threads(pieces: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (pieces / WORTH).clamp(1, processors.min(THREADS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    const PAGES: u64 = 40;

    /// What is done to a file: a page, and its byte. Zero is written or punched.
    type Change = (u64, u8);

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(bytes.len() as u64).expect("it is long");
        for (page, bytes) in bytes.chunks(PAGE as usize).enumerate() {
            // A zero page is data half of the time.
            if bytes.iter().any(|byte| *byte != 0) || page % 2 == 0 {
                file.write_all_at(bytes, page as u64 * PAGE)
                    .expect("it is written");
            }
        }
        file
    }

    fn all(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("a file").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("it is read");
        bytes
    }

    fn changed(bytes: &mut [u8], changes: &[Change]) {
        for (page, byte) in changes {
            let at = (page * PAGE) as usize;
            // A single byte, wherever it is, makes a page another.
            let end = bytes.len().min(at + PAGE as usize);
            match byte {
                0 => bytes[at..end].fill(0),
                byte => bytes[at + usize::from(*byte) * 3] = *byte,
            }
        }
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        proptest::collection::vec((0..PAGES, 0..=255_u8), 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_differs_makes_one_the_other(first in changes(), then in changes(), cut in 0..4000_usize) {
            let mut bytes = vec![0; (PAGES * PAGE) as usize - cut];
            changed(&mut bytes, &first.iter().filter(|(page, _)| *page < PAGES - 1).copied().collect::<Vec<_>>());
            let old = file(&bytes);
            let before = bytes.clone();
            changed(&mut bytes, &then.iter().filter(|(page, _)| *page < PAGES - 1).copied().collect::<Vec<_>>());
            let new = file(&bytes);
            let differing = Ranges::differing(&old, &new).expect("they are compared");
            let pages = before.chunks(PAGE as usize).zip(bytes.chunks(PAGE as usize));
            let expected = (0..).zip(pages).filter(|(_, (a, b))| a != b);
            let expected: Ranges = expected.map(|(page, _): (u64, _)| page..page + 1).collect();
            prop_assert_eq!(&differing, &expected);
            differing.apply(&new, &old).expect("they are copied");
            prop_assert_eq!(all(&old), bytes);
        }

        #[test]
        fn layers_are_what_was_laid(steps in proptest::collection::vec(changes(), 1..6)) {
            let mut bytes = vec![0; (PAGES * PAGE) as usize];
            let mut layers = Layers::default();
            for step in steps {
                changed(&mut bytes, &step);
                let now = file(&bytes);
                let layer = tempfile::tempfile().expect("a file");
                layer.set_len(PAGES * PAGE).expect("it is long");
                let found = layers.differing(&now, PAGES, Some(&layer)).expect("they are compared");
                layers.put(layer, &found);
                let none = layers.differing(&now, PAGES, None).expect("they are compared");
                prop_assert!(none.is_empty(), "{:?}", none);
            }
            let rebuilt = tempfile::tempfile().expect("a file");
            rebuilt.set_len(PAGES * PAGE).expect("it is long");
            for Layer { file, shows } in &layers.0 {
                shows.apply(file, &rebuilt).expect("they are copied");
            }
            prop_assert_eq!(all(&rebuilt), bytes);
        }
    }

    #[test]
    fn zeros_take_no_room_and_many_threads_find_the_same() {
        let long = 256 << 20;
        let (old, new) = (
            tempfile::tempfile().expect("a file"),
            tempfile::tempfile().expect("a file"),
        );
        for file in [&old, &new] {
            file.set_len(long).expect("it is long");
            file.write_all_at(&vec![7; 80 << 20], 0)
                .expect("it is written");
        }
        let zeros = vec![0; 60 << 20];
        new.write_all_at(&zeros, 10 << 20).expect("it is written");
        new.write_all_at(b"x", long - 1).expect("it is written");
        let expected: Ranges = [2560..17920, 65535..65536].into_iter().collect();
        assert_eq!(
            Ranges::differing(&old, &new).expect("they are compared"),
            expected
        );
        expected.apply(&new, &old).expect("they are copied");
        assert!(
            Ranges::differing(&old, &new)
                .expect("they are compared")
                .is_empty()
        );
        let taken = old.metadata().expect("a file").blocks() * 512;
        assert!(taken < 24 << 20, "{taken}");
    }
}
