//! What canisters are as processes, seen from the controller.

use super::stand::{self, Stand};
use super::{COUNTER, numbers};
use casemate_wasm::executor::{CanisterMemory, Crash, Executor, Sandboxed};
use casemate_wasm::guest::State;
use casemate_wasm::process::Spec;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;

/// The workers of this process that are a canister, and not only waiting to be one.
fn workers() -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for keeper in children(std::process::id() as i32) {
        for launcher in children(keeper) {
            let workers = children(launcher).into_iter();
            found.extend(workers.filter(|pid| !heaps(*pid).is_empty()));
        }
    }
    found
}

fn children(of: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after.split(' ').nth(1) == Some(&of.to_string())
    })
    .collect()
}

fn maps(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}

/// The inodes of the heaps that it has mapped.
fn heaps(pid: i32) -> BTreeSet<String> {
    let maps = maps(pid);
    let lines = maps.lines().filter(|line| line.contains("/memfd:heap"));
    lines
        .filter_map(|line| line.split_whitespace().nth(4).map(str::to_owned))
        .collect()
}

pub(crate) fn each_canister_has_a_process_of_its_own() {
    let executor = stand::sandboxed();
    let mut seats = Vec::new();
    let mut known = BTreeSet::new();
    for count in 1..4 {
        seats.push(Stand::new(&executor, COUNTER));
        known = workers();
        assert_eq!(known.len(), count);
    }
    let inodes: BTreeSet<String> = known.iter().flat_map(|pid| heaps(*pid)).collect();
    assert_eq!(inodes.len(), 3);
    assert!(known.iter().all(|pid| heaps(*pid).len() == 1));
    for _ in 0..20 {
        for seat in &mut seats {
            seat.update("increment").unwrap();
            seat.query("get").unwrap();
        }
    }
    assert_eq!(workers(), known);
    seats.pop();
    while workers().len() > 2 {
        std::thread::yield_now();
    }
    assert!(workers().is_subset(&known));
}

/// Canisters of one module share what it was compiled to, and nothing else.
pub(crate) fn one_module_is_several_canisters() {
    stand::executors(|executor| {
        let code = executor.compile(COUNTER.as_bytes()).unwrap();
        let mut stands = [(); 3].map(|()| Stand::of(executor, &code));
        for round in 1..4 {
            for (number, stand) in stands.iter_mut().enumerate() {
                for _ in 0..number {
                    stand.update("increment").unwrap();
                }
                let count = 1 + round * number as u64;
                assert_eq!(numbers(stand.query("get").unwrap())[0], count);
            }
        }
    });
}

/// What a worker has is there before its first call: nothing is handed over later.
pub(crate) fn nothing_is_handed_over_with_a_call() {
    let executor = stand::sandboxed();
    let mut seat = Stand::new(&executor, COUNTER);
    seat.update("increment").unwrap();
    seat.query("get").unwrap();
    let [worker] = workers().into_iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", workers());
    };
    let own = || fs::read_dir("/proc/self/fd").unwrap().count();
    // A process that nobody may trace shows its descriptors to root alone.
    let its = || {
        fs::read_dir(format!("/proc/{worker}/fd"))
            .map(Iterator::count)
            .ok()
    };
    let files = || {
        let maps = maps(worker);
        let lines = maps.lines().filter(|line| line.contains("/memfd:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = (own(), its(), files());
    assert_eq!(its().is_some(), rustix::process::geteuid().is_root());
    for _ in 0..100 {
        seat.update("increment").unwrap();
        // The next call has what the last one wrote.
        let [count, ..] = numbers(seat.query("get").unwrap())[..] else {
            panic!("no numbers");
        };
        assert_eq!(count, seat.increments());
    }
    assert_eq!((own(), its(), files()), before);
}

/// Pages of compiled code are the same in all workers of a module, and nobody's own.
pub(crate) fn compiled_code_is_shared() {
    let executor = stand::sandboxed();
    let code = executor.compile(COUNTER.as_bytes()).unwrap();
    let memories = [(); 2].map(|()| CanisterMemory::new(&code.profile).unwrap());
    let seats = memories.each_ref().map(|memory| {
        let mut seat = executor.seat(&code, memory, &State::default()).unwrap();
        seat.initialise().unwrap();
        seat
    });
    let workers = workers();
    assert_eq!(workers.len(), 2);
    for pid in workers {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let mut is_code = false;
        let (mut shared, mut own) = (0, 0);
        for line in maps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [range, mode, ..] if range.contains('-') => {
                    is_code = mode == "r-xp" && line.contains("/memfd:");
                }
                [name, size, "kB"] if is_code => {
                    let size: u64 = size.parse().unwrap();
                    match name {
                        "Shared_Clean:" | "Shared_Dirty:" => shared += size,
                        "Private_Clean:" | "Private_Dirty:" => own += size,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        assert_eq!(
            (shared > 0, own),
            (true, 0),
            "{shared} kB are shared, {own} kB are not"
        );
    }
    drop(seats);
}

/// A worker that is killed costs its call. The state is the last commit, in another worker, and
/// nobody else notices.
pub(crate) fn a_worker_that_is_killed_costs_one_call() {
    let executor = Sandboxed::new(Spec::default(), std::time::Duration::from_secs(60));
    let mut other = Stand::new(&executor, COUNTER);
    let others = workers();
    let mut stand = Stand::new(&executor, COUNTER);
    for killed in 1..4 {
        stand.update("increment").unwrap();
        let committed = numbers(stand.query("get").unwrap());
        let all = workers();
        let mut own = all.difference(&others);
        let worker = Pid::from_raw(*own.next().unwrap()).unwrap();
        kill_process(worker, Signal::KILL).unwrap();
        match stand.try_update("increment").unwrap_err() {
            Crash::Gone(why) => {
                assert!(why.contains("signal 9 ended it"), "{why}");
                assert!(why.contains("canister_update increment"), "{why}");
            }
            crash => panic!("{crash}"),
        }
        // The place is lost for good, and says so.
        assert!(matches!(stand.try_update("increment"), Err(Crash::Gone(_))));
        stand.reopen(&executor);
        assert_eq!(numbers(stand.query("get").unwrap()), committed);
        assert_eq!(numbers(other.update("increment").unwrap())[0], 1 + killed);
    }
}
