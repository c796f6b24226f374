//! Every method against an oracle: what a program does to its memory in any order, and what has to be
//! found of it.

use super::{Error, Method, Tracker};
use crate::pages::testing::{as_each_user, in_a_fork, peek, poke, tracks_writes};
use crate::pages::{Committed, PAGE, Reader, Region, Run, Runs};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use rustix::fd::AsFd;
use std::collections::BTreeSet;
use std::ops::Range;

const MOST: usize = 40_000;

#[derive(Debug, Clone)]
enum Act {
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

fn act() -> impl Strategy<Value = Act> {
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
struct World {
    tracker: Tracker,
    committed: Committed,
    reader: Reader,
    region: Region,
    pages: usize,
    now: Vec<u8>,
    then: Vec<u8>,
    written: BTreeSet<usize>,
}

impl World {
    fn new(tracker: Tracker) -> Self {
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

    fn act(&mut self, act: &Act) {
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

    fn commit(&mut self) {
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

    fn roll_back(&mut self) {
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

fn list(runs: &Runs) -> Vec<usize> {
    runs.as_slice().iter().flat_map(|run| run.pages()).collect()
}

fn against_the_oracle(method: Method, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let acts = prop::collection::vec(act(), 1..40);
    let run = TestRunner::new(config).run(&acts, |acts| {
        let mut world = World::new(Tracker::with(method).unwrap());
        for act in &acts {
            world.act(act);
        }
        world.act(&Act::Read(0..MOST));
        world.commit();
        world.act(&Act::Read(0..MOST));
        Ok(())
    });
    if let Err(TestError::Fail(why, acts)) = run {
        panic!("{why}: {acts:?}");
    }
    run.unwrap();
}

#[test]
fn protecting_finds_exactly_what_was_written() {
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    as_each_user(|| against_the_oracle(Method::Protect, 40));
}

#[test]
fn comparing_finds_exactly_what_is_different() {
    as_each_user(|| against_the_oracle(Method::Compare, 25));
}

#[test]
fn comparing_without_the_scan_finds_the_same() {
    as_each_user(|| {
        let mut tracker = Tracker::with(Method::Compare).unwrap();
        tracker.pagemap = tracker.pagemap.without_scan();
        let mut world = World::new(tracker);
        for turn in 0..4u8 {
            world.act(&Act::Write(
                turn as usize * 7..30_000,
                1 + turn as usize * 5,
                turn,
            ));
            world.act(&Act::Receive(100..5000, 3 - turn));
            world.act(&Act::Read(0..MOST));
            world.commit();
            world.act(&Act::Write(50..60, 1, 9));
            world.roll_back();
            world.act(&Act::Grow(15_000));
        }
    });
}

#[test]
fn what_a_query_wrote_is_found_in_a_mapping_that_nobody_watches() {
    as_each_user(|| {
        for scans in [true, false] {
            let mut tracker = Tracker::open().unwrap();
            if !scans {
                tracker.pagemap = tracker.pagemap.without_scan();
            }
            let mut committed = Committed::new("heap", MOST).unwrap();
            committed.map(5).unwrap().write(0, &[7; 5 * PAGE]).unwrap();
            let region = Region::reserve(1, MOST, 1).unwrap();
            region
                .map_private(0..MOST, &committed.reader().unwrap(), 0)
                .unwrap();
            for round in 0..3 {
                let mut expected = BTreeSet::new();
                for page in (round..MOST).step_by(17) {
                    assert_eq!(peek(&region, page), if page < 5 { 7 } else { 0 });
                    if page % 2 == 0 {
                        poke(&region, page, 1);
                        expected.insert(page);
                    }
                }
                let mut found = Runs::default();
                tracker.private(&region, 0..MOST, &mut found).unwrap();
                assert_eq!(list(&found), expected.into_iter().collect::<Vec<_>>());
                for run in found.as_slice() {
                    region.forget(run.pages()).unwrap();
                }
            }
        }
    });
}

#[test]
fn what_was_mapped_anew_must_be_watched_anew() {
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    let mut world = World::new(Tracker::with(Method::Protect).unwrap());
    world.act(&Act::Write(0..10, 1, 3));
    world
        .region
        .map_private(500..501, &world.reader, 500)
        .unwrap();
    let mut found = Runs::default();
    let (region, reader) = (&world.region, &world.reader);
    for pages in [0..1000, 500..501] {
        let untracked = Err(Error::Untracked);
        assert_eq!(
            world
                .tracker
                .look(region, pages.clone(), reader, &mut found),
            untracked
        );
        assert_eq!(
            world.tracker.take(region, pages, reader, &mut found),
            untracked
        );
    }
    world.tracker.watch(region, 500..501).unwrap();
    poke(region, 500, 1);
    world
        .tracker
        .take(region, 500..1000, reader, &mut found)
        .unwrap();
    assert_eq!(
        found.as_slice().last(),
        Some(&Run {
            start: 500,
            end: 501
        })
    );
}

#[test]
fn a_forked_process_cannot_ask_for_its_parents_pages() {
    let world = World::new(Tracker::open().unwrap());
    poke(&world.region, 5, 1);
    in_a_fork(|| {
        let (region, mut found) = (&world.region, Runs::default());
        assert_eq!(
            world.tracker.private(region, 0..1000, &mut found),
            Err(Error::Foreign)
        );
        assert_eq!(
            world
                .tracker
                .take(region, 0..1000, &world.reader, &mut found),
            Err(Error::Foreign)
        );
        // Its own it can.
        poke(region, 6, 1);
        let tracker = Tracker::with(Method::Compare).unwrap();
        tracker.private(region, 0..1000, &mut found).unwrap();
        assert_eq!(list(&found), [5, 6]);
    });
    let mut found = Runs::default();
    world
        .tracker
        .private(&world.region, 0..1000, &mut found)
        .unwrap();
    assert_eq!(list(&found), [5]);
}

/// A process has 65,530 mappings (vm.max_map_count), and a memory may grow more often.
#[test]
fn growing_makes_no_more_mappings_if_it_is_watched_before_it_is_written() {
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    let tracker = Tracker::with(Method::Protect).unwrap();
    let reader = Committed::new("heap", 1000).unwrap().reader().unwrap();
    let region = Region::reserve(1, 1000, 1).unwrap();
    for page in 0..1000 {
        region.map_private(page..page + 1, &reader, page).unwrap();
        tracker.watch(&region, page..page + 1).unwrap();
        poke(&region, page, 1);
    }
    let (from, to) = (region.start() as usize, region.address(1000) as usize);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(&format!("{from:x}-{to:x} rw-p")));
    let mut found = Runs::default();
    tracker.take(&region, 0..1000, &reader, &mut found).unwrap();
    assert_eq!(
        found.as_slice(),
        [Run {
            start: 0,
            end: 1000
        }]
    );
}

#[test]
fn what_was_written_before_it_is_watched_counts() {
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    let tracker = Tracker::with(Method::Protect).unwrap();
    let reader = Committed::new("heap", 9).unwrap().reader().unwrap();
    let region = Region::reserve(1, 9, 1).unwrap();
    region.map_private(0..9, &reader, 0).unwrap();
    poke(&region, 4, 1);
    tracker.watch(&region, 0..9).unwrap();
    let mut found = Runs::default();
    tracker.take(&region, 0..9, &reader, &mut found).unwrap();
    assert_eq!(list(&found), [4]);
}
