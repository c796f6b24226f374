//! Which pages the last restore needed, kept beside the snapshot: `working-set`.
//!
//! It is an aid and nothing else: one that is missing, cut or changed is as good as none, and what it
//! names is checked as if a stranger had written it. A restore adds what it had to wait for. If that
//! makes the set too large to be one, it begins anew with what this restore needed.

use super::marks::Marks;
use crate::memory::Ranges;
use casemate_core::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// The part of memory that may be a working set: more is no faster than to wait.
const LARGEST: u64 = 2;

/// A digest, and the set.
const DIGEST: usize = 32;

/// Reads one for a memory of so many pages; `None` if there is none.
///
/// # Errors
/// It can't be read, or isn't one.
pub(super) fn read(path: &Path, pages: u64) -> Result<Option<Ranges>> {
    let fail = |why: &str| Error::rule("read the working set", why).on(path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &error).on(path.display())),
    };
    let mut bytes = Vec::new();
    let most = DIGEST as u64 + Ranges::longest(pages);
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("read", &error).on(path.display()))?;
    let Some((digest, set)) = bytes.split_first_chunk::<DIGEST>() else {
        return Err(fail("it was cut"));
    };
    if Sha256::digest(set)[..] != digest[..] {
        return Err(fail("it isn't what was written"));
    }
    Ranges::decode(set, pages).map(Some)
}

/// Writes one, whole or not at all.
///
/// # Errors
/// The file system refuses.
pub(super) fn write(path: &Path, set: &Ranges) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("write", error).on(path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let set = set.encode();
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(&Sha256::digest(&set))?;
        file.write_all(&set)?;
        // Nothing is lost with it: it need not be on disk.
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| fail(&error))
}

/// The set for the next restore, from that of the last one, of which nobody can say which pages were
/// needed, and the pages that this one waited for.
pub(super) fn next(last: &Ranges, touched: &Marks, removed: &Marks, pages: u64) -> Ranges {
    let waited = || touched.ranges();
    let both: Ranges = removed.without(last).chain(waited()).collect();
    if both.pages() > pages / LARGEST {
        return waited().collect();
    }
    both
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use super::*;

    fn set(ranges: &[std::ops::Range<u64>]) -> Ranges {
        ranges.iter().cloned().collect()
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("working-set");
        assert_eq!(read(&path, 100), Ok(None));
        for ranges in [set(&[]), set(&[3..9, 50..100])] {
            write(&path, &ranges).expect("it is written");
            assert_eq!(read(&path, 100), Ok(Some(ranges)));
        }
        read(&path, 99).expect_err("it goes beyond the memory");
        let names = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[test]
    fn what_was_cut_or_changed_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("working-set");
        write(&path, &set(&[3..9, 50..100])).expect("it is written");
        let whole = std::fs::read(&path).expect("it is there");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("it is written");
            read(&path, 100).expect_err("it was cut");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).expect("it is written");
            read(&path, 100).expect_err("it was changed");
        }
        std::fs::write(&path, vec![0; 1 << 20]).expect("it is written");
        read(&path, 100).expect_err("it is too long");
    }

    #[test]
    fn it_grows_by_what_was_waited_for_and_begins_anew_in_time() {
        let (mut touched, mut removed) = (Marks::new(100), Marks::new(100));
        let last = set(&[0..10]);
        touched.set(20..25);
        removed.set(4..6);
        let found = next(&last, &touched, &removed, 100);
        assert_eq!(found, set(&[0..4, 6..10, 20..25]));
        assert_eq!(next(&last, &touched, &removed, 20), set(&[20..25]));
    }
}
