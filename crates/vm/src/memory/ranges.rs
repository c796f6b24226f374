//! Sets of pages.

use super::Layers;
use super::pages;
use casemate_core::error::{Error, Result};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// What an encoded set begins with.
const MAGIC: &[u8; 8] = b"CMranges";

/// A set of pages: ranges of their numbers, in order, none of them empty, and a gap between each two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The first so many pages.
    pub fn first(pages: u64) -> Self {
        std::iter::once(0..pages).collect()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// Whether this page is in it.
    pub fn contains(&self, page: u64) -> bool {
        let next = self.0.partition_point(|range| range.end <= page);
        self.0.get(next).is_some_and(|range| range.start <= page)
    }

    /// How many pages are in it.
    pub fn pages(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here || there)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here && there)
    }

    /// What is in this one alone.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here && !there)
    }

    fn combined(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let edges = |set: &Self, which: usize| {
            let both = |range: Range<u64>| [range.start, range.end];
            set.iter()
                .flat_map(both)
                .map(move |at| (at, which))
                .collect()
        };
        let mut all: Vec<(u64, usize)> = edges(self, 0);
        all.extend::<Vec<_>>(edges(other, 1));
        all.sort_unstable();
        let (mut made, mut inside, mut begun) = (Self::default(), [false; 2], None);
        for (at, which) in all {
            inside[which] = !inside[which];
            match (begun, keep(inside[0], inside[1])) {
                (None, true) => begun = Some(at),
                (Some(start), false) => {
                    made.push(start..at);
                    begun = None;
                }
                _ => {}
            }
        }
        made
    }

    /// Adds a range that begins nowhere before the last one's beginning.
    fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    /// The pages in which a file holds data, as far as its file system knows of holes (`SEEK_DATA` in
    /// lseek(2)).
    ///
    /// # Errors
    /// The file can't be looked through.
    pub fn of_data(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let (mut found, mut at) = (Self::default(), 0);
        while at < length {
            let start = match seek(file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // The rest is a hole.
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            at = seek(file, SeekFrom::Hole(start))?.min(length);
            found.push(start / PAGE..at.div_ceil(PAGE));
        }
        Ok(found)
    }

    /// The pages that two files don't have in common. What one has beyond the end of the other
    /// counts as if zeros were there.
    ///
    /// # Errors
    /// One of them can't be read.
    pub fn differing(old: &File, new: &File) -> io::Result<Self> {
        let pages = old
            .metadata()?
            .len()
            .max(new.metadata()?.len())
            .div_ceil(PAGE);
        let mut layers = Layers::default();
        layers.put(old.try_clone()?, &Self::first(pages));
        layers.differing(new, pages, None)
    }

    /// Makes these pages of a file what they are in another. Zeros become holes.
    ///
    /// # Errors
    /// One can't be read, or the other not written.
    pub fn apply(&self, from: &File, to: &File) -> io::Result<()> {
        let end = to.metadata()?.len();
        let mut block = pages::block();
        for piece in self.iter().flat_map(pages::pieces) {
            let bytes = pages::read(from, piece.clone(), &mut block)?;
            pages::write(to, piece.start, bytes, end)?;
        }
        Ok(())
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|range| [range.start, range.end]);
        let numbers = numbers.flat_map(u64::to_le_bytes);
        MAGIC.iter().copied().chain(numbers).collect()
    }

    /// The most bytes that a set of so many pages takes.
    pub const fn longest(pages: u64) -> u64 {
        (pages / 2 + 1).saturating_mul(16).saturating_add(8)
    }

    /// From bytes, of a file of so many pages.
    ///
    /// # Errors
    /// They are no such set.
    pub fn decode(bytes: &[u8], pages: u64) -> Result<Self> {
        let fail = |why: &str| Error::rule("read which pages a file has", why);
        let numbers = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| fail("it begins otherwise"))?;
        let (both, []) = numbers.as_chunks::<16>() else {
            return Err(fail("it was cut"));
        };
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(both.len());
        for both in both {
            let ([start, end], _) = both.as_chunks::<8>() else {
                return Err(fail("it was cut"));
            };
            let range = u64::from_le_bytes(*start)..u64::from_le_bytes(*end);
            if range.is_empty() || ranges.last().is_some_and(|last| last.end >= range.start) {
                return Err(fail("its ranges aren't in order"));
            }
            if range.end > pages {
                return Err(fail("it goes beyond the file's end"));
            }
            ranges.push(range);
        }
        Ok(Self(ranges))
    }
}

/// In any order.
impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Self {
        let mut ranges: Vec<Range<u64>> = ranges.into_iter().collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut made = Self::default();
        ranges.into_iter().for_each(|range| made.push(range));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const PAGES: u64 = 64;

    fn some() -> impl Strategy<Value = Ranges> {
        let range = (0..PAGES, 0..9_u64).prop_map(|(start, length)| start..start + length);
        proptest::collection::vec(range, 0..8).prop_map(|ranges| ranges.into_iter().collect())
    }

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn they_are_sets(one in some(), other in some()) {
            let (a, b) = (set(&one), set(&other));
            prop_assert_eq!(one.pages(), a.len() as u64);
            prop_assert!((0..PAGES + 9).all(|page| one.contains(page) == a.contains(&page)));
            prop_assert_eq!(set(&one.union(&other)), &a | &b);
            prop_assert_eq!(set(&one.intersection(&other)), &a & &b);
            prop_assert_eq!(set(&one.without(&other)), &a - &b);
            // One set has one form.
            prop_assert_eq!(a.iter().map(|page| *page..page + 1).collect::<Ranges>(), one.clone());
            let coded = one.union(&other).encode();
            prop_assert!(coded.len() as u64 <= Ranges::longest(PAGES + 9));
            prop_assert_eq!(Ranges::decode(&coded, PAGES + 9), Ok(one.union(&other)));
        }

        #[test]
        fn bytes_make_a_set_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(set) = Ranges::decode(&bytes, 50) {
                prop_assert_eq!(set.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let set: Ranges = [3..5, 7..9].into_iter().collect();
        let whole = set.encode();
        assert_eq!(Ranges::decode(&whole, 9), Ok(set));
        for (what, bytes, pages) in [
            ("too short a file", whole.clone(), 8),
            ("cut", whole[..whole.len() - 1].to_vec(), 9),
            ("another beginning", whole[1..].to_vec(), 9),
            ("not in order", [&whole[..], &whole[8..]].concat(), 9),
            ("without a gap", Ranges(vec![3..5, 5..9]).encode(), 9),
            (
                "empty",
                Ranges(vec![Range { start: 5, end: 5 }]).encode(),
                9,
            ),
        ] {
            Ranges::decode(&bytes, pages).expect_err(what);
        }
    }
}
