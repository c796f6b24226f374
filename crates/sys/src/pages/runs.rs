//! Sets of pages, as runs of pages that follow each other.

use std::ops::Range;

/// Pages from `start` up to `end`, which is the first one not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The first page.
    pub start: usize,
    /// The page after the last.
    pub end: usize,
}

impl Run {
    /// How many pages.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The pages.
    pub fn pages(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A set of pages: runs in ascending order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// The runs.
    pub fn as_slice(&self) -> &[Run] {
        &self.0
    }

    /// How many pages are in it.
    pub fn pages(&self) -> usize {
        self.0.iter().map(|run| run.len()).sum()
    }

    /// True if no page is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of its pages that aren't in another set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        let mut others = other.0.iter().copied().peekable();
        for run in &self.0 {
            let mut start = run.start;
            while let Some(next) = others.peek().filter(|next| next.start < run.end) {
                left.extend((start < next.start).then_some(Run {
                    start,
                    end: next.start,
                }));
                start = start.max(next.end);
                if next.end > run.end {
                    break;
                }
                others.next();
            }
            left.extend((start < run.end).then_some(Run {
                start,
                end: run.end,
            }));
        }
        left
    }

    /// Those of its pages that are in another set as well.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// Its first so many pages, and the others.
    #[must_use]
    pub fn split(&self, pages: usize) -> (Self, Self) {
        let (mut first, mut others) = (Self::default(), Self::default());
        let mut left = pages;
        for run in &self.0 {
            let middle = run.start + run.len().min(left);
            left -= middle - run.start;
            first.extend([Run {
                start: run.start,
                end: middle,
            }]);
            others.extend([Run {
                start: middle,
                end: run.end,
            }]);
        }
        (first, others)
    }

    /// Takes all pages out, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Adds pages, in any order and as often as they come.
impl Extend<Run> for Runs {
    fn extend<I: IntoIterator<Item = Run>>(&mut self, runs: I) {
        let mut ascending = true;
        for run in runs {
            if run.is_empty() {
                continue;
            }
            match self.0.last_mut() {
                Some(last) if run.start < last.start => {
                    ascending = false;
                    self.0.push(run);
                }
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => self.0.push(run),
            }
        }
        if !ascending {
            let mut unsorted = std::mem::take(&mut self.0);
            unsorted.sort_unstable();
            self.extend(unsorted);
        }
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut set = Self::default();
        set.extend(runs);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, Runs};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_are_a_set_of_pages(
            parts in prop::collection::vec(prop::collection::vec((0usize..300, 0usize..9), 0..40), 0..4)
        ) {
            let mut runs = Runs::default();
            let mut pages = BTreeSet::new();
            for part in parts {
                pages.extend(part.iter().flat_map(|(start, count)| *start..start + count));
                runs.extend(part.iter().map(|(start, count)| Run { start: *start, end: start + count }));
                let found: Vec<usize> = runs.as_slice().iter().flat_map(|run| run.pages()).collect();
                prop_assert_eq!(found, pages.iter().copied().collect::<Vec<_>>());
                prop_assert!(runs.as_slice().is_sorted_by(|a, b| a.end < b.start));
                prop_assert_eq!(runs.pages(), pages.len());
            }
        }

        #[test]
        fn one_set_can_be_split(
            parts in prop::collection::vec((0usize..300, 0usize..9), 0..20),
            at in 0usize..200,
        ) {
            let runs: Runs = parts.iter().map(|(start, count)| Run { start: *start, end: start + count }).collect();
            let pages = |runs: &Runs| -> Vec<usize> {
                runs.as_slice().iter().flat_map(|run| run.pages()).collect()
            };
            let (first, others) = runs.split(at);
            prop_assert_eq!(first.pages(), at.min(runs.pages()));
            prop_assert_eq!([pages(&first), pages(&others)].concat(), pages(&runs));
            prop_assert!(others.as_slice().iter().all(|run| !run.is_empty()));
        }

        #[test]
        fn one_set_can_be_taken_from_another(
            one in prop::collection::vec((0usize..100, 0usize..9), 0..20),
            other in prop::collection::vec((0usize..100, 0usize..9), 0..20),
        ) {
            let runs = |parts: &[(usize, usize)]| -> Runs {
                parts.iter().map(|(start, count)| Run { start: *start, end: start + count }).collect()
            };
            let pages = |runs: &Runs| -> BTreeSet<usize> {
                runs.as_slice().iter().flat_map(|run| run.pages()).collect()
            };
            let (one, other) = (runs(&one), runs(&other));
            let (of_one, of_other) = (pages(&one), pages(&other));
            for (found, expected) in [
                (one.without(&other), &of_one - &of_other),
                (one.within(&other), &of_one & &of_other),
            ] {
                prop_assert!(found.as_slice().is_sorted_by(|a, b| a.end < b.start));
                prop_assert_eq!(pages(&found), expected);
            }
        }
    }
}
