//! A program and its memory, what is done with it, and what has to be found of that.

use crate::pages::testing::{peek, poke};
use crate::pages::{Committed, Method, PAGE, Reader, Region, Runs, Tracker};
use proptest::prelude::*;
use rustix::fd::AsFd;
use std::collections::BTreeSet;
use std::ops::Range;

pub(super) const MOST: usize = 40_000;

/// What a program does with its memory, or is done with it.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// The program writes a byte to each of some pages, every so many.
    Write(Range<usize>, usize, u8),
    /// The program writes a byte and then the one that was there.
    WriteBack(usize),
    /// The kernel writes for it (read(2)).
    Receive(Range<usize>, u8),
    /// The program reads.
    Read(Range<usize>),
    /// The kernel maps pages ahead.
    Populate(Range<usize>),
    /// Pages that weren't written are dropped, as cold ones are.
    DropClean(Range<usize>),
    Grow(usize),
    Commit,
    Rollback,
}

fn range() -> impl Strategy<Value = Range<usize>> {
    let lengths = prop_oneof![4 => 1usize..4, 2 => 1usize..600, 1 => 1usize..20_000];
    (0usize..MOST, lengths).prop_map(|(start, length)| start..start + length)
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (range(), prop_oneof![Just(1usize), 2usize..40], 0u8..4)
            .prop_map(|(range, step, value)| Act::Write(range, step, value)),
        1 => (0usize..MOST).prop_map(Act::WriteBack),
        2 => (range(), 0u8..4).prop_map(|(range, value)| Act::Receive(range, value)),
        2 => range().prop_map(Act::Read),
        1 => range().prop_map(Act::Populate),
        1 => range().prop_map(Act::DropClean),
        1 => (1usize..10_000).prop_map(Act::Grow),
        3 => Just(Act::Commit),
        1 => Just(Act::Rollback),
    ]
}

/// The program, its memory, and what a perfect observer knows.
pub(super) struct World {
    pub(super) tracker: Tracker,
    committed: Committed,
    pub(super) reader: Reader,
    pub(super) region: Region,
    pages: usize,
    now: Vec<u8>,
    then: Vec<u8>,
    written: BTreeSet<usize>,
}

impl World {
    pub(super) fn new(tracker: Tracker) -> Self {
        let mut committed = Committed::new("heap", MOST).unwrap();
        let mut mapped = committed.map(MOST).unwrap();
        let mut then = vec![0; MOST];
        for page in (0..MOST).step_by(3) {
            then[page] = 1;
            mapped.write(page, &[1]).unwrap();
        }
        let reader = committed.reader().unwrap();
        let mut world = Self {
            tracker,
            committed,
            reader,
            region: Region::reserve(1, MOST, 1).unwrap(),
            pages: 0,
            now: then.clone(),
            then,
            written: BTreeSet::new(),
        };
        world.grow(1000);
        world
    }

    fn grow(&mut self, pages: usize) {
        let new = self.pages..(self.pages + pages).min(MOST);
        self.region
            .map_private(new.clone(), &self.reader, new.start)
            .unwrap();
        self.tracker.watch(&self.region, new.clone()).unwrap();
        self.pages = new.end;
    }

    fn clip(&self, range: &Range<usize>) -> Range<usize> {
        range.start.min(self.pages)..range.end.min(self.pages)
    }

    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Write(range, step, value) => {
                for page in self.clip(range).step_by(*step) {
                    poke(&self.region, page, *value);
                    self.now[page] = *value;
                    self.written.insert(page);
                }
            }
            Act::WriteBack(page) => {
                for page in self.clip(&(*page..page + 1)) {
                    let before = peek(&self.region, page);
                    poke(&self.region, page, before ^ 0xff);
                    poke(&self.region, page, before);
                    self.written.insert(page);
                }
            }
            Act::Receive(range, value) => self.receive(self.clip(range), *value),
            Act::Read(range) => {
                for page in self.clip(range) {
                    assert_eq!(peek(&self.region, page), self.now[page], "page {page}");
                }
            }
            Act::Populate(range) => self.region.populate(self.clip(range)).unwrap(),
            Act::DropClean(range) => {
                for page in self.clip(range) {
                    if !self.written.contains(&page) {
                        self.region.forget(page..page + 1).unwrap();
                    }
                }
            }
            Act::Grow(pages) => self.grow(*pages),
            Act::Commit => self.commit(),
            Act::Rollback => self.roll_back(),
        }
    }

    fn receive(&mut self, pages: Range<usize>, value: u8) {
        let mut source = Committed::new("source", pages.len()).unwrap();
        let mut mapped = source.map(pages.len()).unwrap();
        for page in 0..pages.len() {
            mapped.write(page, &[value]).unwrap();
        }
        let (source, at) = (source.reader().unwrap(), self.region.address(pages.start));
        let length = pages.len() * PAGE;
        // SAFETY: the pages are mapped, and nothing else uses them.
        let into = unsafe { std::slice::from_raw_parts_mut(at, length) };
        assert_eq!(rustix::io::pread(source.as_fd(), into, 0), Ok(length));
        self.now[pages.clone()].fill(value);
        self.written.extend(pages);
    }

    /// What has to be found.
    fn expected(&self) -> Vec<usize> {
        let differs = |page: &usize| self.now[*page] != self.then[*page];
        match self.tracker.method() {
            Method::Protect => self.written.iter().copied().collect(),
            Method::Compare => self.written.iter().copied().filter(differs).collect(),
        }
    }

    pub(super) fn commit(&mut self) {
        let (mut seen, mut taken) = (Runs::default(), Runs::default());
        let all = 0..self.pages;
        self.tracker
            .look(&self.region, all.clone(), &self.reader, &mut seen)
            .unwrap();
        self.tracker
            .take(&self.region, all.clone(), &self.reader, &mut taken)
            .unwrap();
        assert_eq!(list(&taken), self.expected());
        assert_eq!(seen, taken);
        if self.tracker.method() == Method::Protect {
            let mut again = Runs::default();
            self.tracker
                .take(&self.region, all, &self.reader, &mut again)
                .unwrap();
            assert_eq!(list(&again), Vec::<usize>::new());
        }
        let mut mapped = self.committed.map(MOST).unwrap();
        for page in list(&taken) {
            mapped.write(page, &[peek(&self.region, page)]).unwrap();
        }
        self.then.clone_from(&self.now);
        self.written.clear();
    }

    pub(super) fn roll_back(&mut self) {
        let mut found = Runs::default();
        self.tracker
            .look(&self.region, 0..self.pages, &self.reader, &mut found)
            .unwrap();
        assert_eq!(list(&found), self.expected());
        for run in found.as_slice() {
            self.region.forget(run.pages()).unwrap();
        }
        self.now.clone_from(&self.then);
        self.written.clear();
    }
}

pub(super) fn list(runs: &Runs) -> Vec<usize> {
    runs.as_slice().iter().flat_map(|run| run.pages()).collect()
}
