//! Every method against an oracle ([`world`]), and what it takes to use it.

mod world;

use super::{Error, Method, Tracker};
use crate::Errno;
use crate::pages::testing::{as_each_user, in_a_fork, peek, poke, tracks_writes};
use crate::pages::{Committed, PAGE, Region, Run, Runs};
use crate::seccomp::{self, Instruction};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use std::collections::BTreeSet;
use world::{Act, MOST, World, act, list};

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

/// Refuses a call, or one request of ioctl(2), as an older kernel does.
fn without(call: i64, request: Option<u32>, errno: Errno) {
    let [load, equal, end] = [0x20, 0x15, 0x06];
    const SECOND_ARGUMENT: u32 = 24;
    let op = |code, k, jf| Instruction { code, jt: 0, jf, k };
    let (test, asked) = match request {
        Some(request) => (SECOND_ARGUMENT, request),
        None => (0, call as u32),
    };
    crate::privilege::no_new_privileges().unwrap();
    let program = [
        op(load, 0, 0),
        op(equal, call as u32, 3),
        op(load, test, 0),
        op(equal, asked, 1),
        op(end, 0x0005_0000 | errno.raw_os_error() as u32, 0),
        op(end, 0x7fff_0000, 0),
    ];
    seccomp::install(&program, false).unwrap();
}

#[test]
fn on_an_older_kernel_it_compares() {
    const PAGEMAP_SCAN: u32 = 0xC060_6610;
    type Missing = (i64, Option<u32>, Errno);
    let missing: [Missing; 3] = [
        (libc::SYS_userfaultfd, None, Errno::NOSYS),
        (libc::SYS_userfaultfd, None, Errno::PERM),
        (libc::SYS_ioctl, Some(PAGEMAP_SCAN), Errno::NOTTY),
    ];
    for (call, request, errno) in missing {
        in_a_fork(|| {
            without(call, request, errno);
            let wanted = Tracker::with(Method::Protect).err();
            assert_eq!(
                matches!(wanted, Some(Error::Unsupported { .. })),
                errno != Errno::PERM,
                "{wanted:?}"
            );
            let tracker = Tracker::open().unwrap();
            assert_eq!(tracker.method(), Method::Compare);
            let mut world = World::new(tracker);
            world.act(&Act::Write(5..900, 2, 3));
            world.act(&Act::WriteBack(1));
            world.commit();
            world.act(&Act::Receive(7..30, 2));
            world.roll_back();
            world.act(&Act::Read(0..MOST));
        });
    }
}
