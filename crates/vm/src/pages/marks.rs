//! One bit for each page: however often something happens to a page, it takes no more memory.

use crate::memory::Ranges;
use std::ops::Range;

const BITS: u64 = u64::BITS as u64;

/// Pages that are marked.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    words: Vec<u64>,
    pages: u64,
}

impl Marks {
    pub(super) fn new(pages: u64) -> Self {
        Self {
            words: vec![0; pages.div_ceil(BITS) as usize],
            pages,
        }
    }

    pub(super) fn has(&self, page: u64) -> bool {
        let word = self.words.get((page / BITS) as usize);
        word.is_some_and(|word| word >> (page % BITS) & 1 == 1)
    }

    /// Marks pages; says how many of them weren't.
    pub(super) fn set(&mut self, pages: Range<u64>) -> u64 {
        let (mut page, end) = (pages.start, pages.end.min(self.pages));
        let mut fresh = 0;
        while page < end {
            let until = end.min((page / BITS + 1) * BITS);
            let mask = (u64::MAX >> (BITS - (until - page))) << (page % BITS);
            let word = &mut self.words[(page / BITS) as usize];
            fresh += u64::from((mask & !*word).count_ones());
            *word |= mask;
            page = until;
        }
        fresh
    }

    /// The first page from `page` on, before `end`, that is marked or isn't.
    pub(super) fn next(&self, page: u64, end: u64, marked: bool) -> u64 {
        let mut at = page;
        while at < end {
            let word = self.words.get((at / BITS) as usize).copied().unwrap_or(0);
            let word = if marked { word } else { !word } >> (at % BITS);
            if word != 0 {
                return end.min(at + u64::from(word.trailing_zeros()));
            }
            at = (at / BITS + 1) * BITS;
        }
        end
    }

    /// The marked ones.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut page = 0;
        std::iter::from_fn(move || {
            let start = self.next(page, self.pages, true);
            page = self.next(start, self.pages, false);
            (start < self.pages).then_some(start..page)
        })
    }

    /// Those of a set that aren't marked.
    pub(super) fn without(&self, set: &Ranges) -> impl Iterator<Item = Range<u64>> {
        set.iter().flat_map(move |range| {
            let mut page = range.start;
            std::iter::from_fn(move || {
                let start = self.next(page, range.end, false);
                page = self.next(start, range.end, true);
                (start < range.end).then_some(start..page)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_a_set_of_pages() {
        let mut marks = Marks::new(200);
        let mut model = [false; 200];
        // Numbers that are as good as random.
        let mut seed = 9_u64;
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = (seed >> 33) % 200;
            let end = start + (seed >> 50) % 7 * ((seed >> 20) % 12);
            let ours = &mut model[start as usize..end.min(200) as usize];
            let fresh = ours.iter().filter(|marked| !**marked).count();
            ours.fill(true);
            assert_eq!(marks.set(start..end), fresh as u64);
            for page in 0..200 {
                assert_eq!(marks.has(page), model[page as usize]);
            }
            let found: Vec<u64> = marks.ranges().flatten().collect();
            let expected: Vec<u64> = (0..200).filter(|page| model[*page as usize]).collect();
            assert_eq!(found, expected);
            let every_other: Ranges = (0..20).map(|n| n * 10..n * 10 + 7).collect();
            let found: Vec<u64> = marks.without(&every_other).flatten().collect();
            let mut expected: Vec<u64> = every_other.iter().flatten().collect();
            expected.retain(|page| !model[*page as usize]);
            assert_eq!(found, expected);
        }
        assert!(!marks.has(200) && !marks.has(u64::MAX));
    }
}
