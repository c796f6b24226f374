//! Sandboxes that come and go, several at a time, and of which nothing stays: the machine is
//! afterwards as it was before, and so are the server and its folder.
//!
//! None are kept ready, so that each is made from nothing, and ended. This process adopts what is
//! orphaned below it (PR_SET_CHILD_SUBREAPER in prctl(2)): whatever a sandbox consists of is below
//! this process, whoever started it.
//!
//! `cargo xtask cycles` does the same a thousand times.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "cycles/census.rs"]
mod census;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use census::{Census, Seen};
use rustix::process::{getpid, set_child_subreaper};
use sandbox::{Stage, both};
use serving::Serving;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use support::{PATIENCE, has};

both!(nothing_of_a_sandbox_stays);

/// How many; the test's own number is small.
const CYCLES: &str = "CASEMATE_CYCLES";
const FEW: usize = 48;
const AT_ONCE: usize = 8;
/// What is made once and kept is made in the first ones: threads, connections to the store.
const FIRST: usize = 24;

/// Tests of one process would count each other's processes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn nothing_of_a_sandbox_stays(stage: &Stage) {
    if !has(&["/usr/bin/sqlite3"]) {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(getpid())).unwrap();
    let count = std::env::var(CYCLES).map_or(FEW, |value| value.parse().expect(CYCLES));
    let serving = Serving::with(stage, &["--warm", "0"]);
    cycles(&serving, FIRST);
    let before = settled(&serving, &Seen::default(), None);
    let begun = Instant::now();
    let seen = cycles(&serving, count);
    println!("{count} sandboxes in {:.1?}", begun.elapsed());
    let after = settled(&serving, &seen, Some(&before));
    println!("before: {before:?}\nafter: {after:?}");
    assert_eq!(after.and_what_went(&before), before, "something stayed");
    // At least the keeper, init and the agent of each.
    assert!(
        seen.processes() >= count,
        "only {} processes were ever seen",
        seen.processes()
    );
}

/// Makes sandboxes, has each say a word, and ends them. Returns what was seen meanwhile.
fn cycles(serving: &Serving<'_>, count: usize) -> Seen {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ids = Mutex::new(BTreeSet::new());
    let worker = || {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let id = serving.create(&[]);
            let word = serving.says(&["exec", &id, "--", "echo", &id]);
            assert_eq!(word.trim_end(), id);
            serving.says(&["kill", &id]);
            ids.lock().unwrap().insert(id);
        }
    };
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| Seen::until(&over));
        let workers = [(); AT_ONCE].map(|()| scope.spawn(worker));
        let ends = workers.map(|worker| worker.join());
        over.store(true, Ordering::Relaxed);
        let seen = watcher.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
        seen
    });
    assert_eq!(ids.into_inner().unwrap().len(), count, "ids came twice");
    seen
}

/// What there is once everything that goes has gone. Who expects something waits for it, but not
/// for ever.
fn settled(serving: &Serving<'_>, seen: &Seen, expected: Option<&Census>) -> Census {
    let begun = Instant::now();
    let mut last = Census::take(serving, seen);
    loop {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = Census::take(serving, seen);
        let is_settled = expected.map_or(now == last, |expected| {
            now.clone().and_what_went(expected) == *expected
        });
        if is_settled || begun.elapsed() > PATIENCE {
            return now;
        }
        last = now;
    }
}
