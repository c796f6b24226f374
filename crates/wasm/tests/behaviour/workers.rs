//! What canisters are as processes, seen from the controller.

use super::stand::{self, Stand};
use super::{COUNTER, numbers};
use casemate_sys::cgroup::{Cgroup, Wanted};
use casemate_wasm::executor::{CanisterMemory, Crash, Executor, Sandboxed};
use casemate_wasm::guest::State;
use casemate_wasm::met::Deed;
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

/// All of an executor's processes have limits together, where this user may have that.
pub(crate) fn they_are_in_a_cgroup() {
    let own = format!("/casemate-{}", std::process::id());
    let wanted = Wanted {
        memory: 1 << 30,
        pids: 100,
        milli_cpus: None,
        ends_together: false,
    };
    if Cgroup::create(&wanted).unwrap().is_none() {
        return println!("  skipped: this user can have no cgroup here");
    }
    let executors = [stand::sandboxed(), stand::sandboxed()];
    let seats = executors
        .each_ref()
        .map(|executor| Stand::new(executor, COUNTER));
    let mut known = BTreeSet::new();
    for pid in workers() {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let folder = cgroup.split_whitespace().find_map(|line| {
            let (_, folder) = line.split_once(&own)?;
            Some(format!("{own}{folder}"))
        });
        known.insert(folder.unwrap_or_else(|| panic!("{cgroup}")));
    }
    assert_eq!(known.len(), 2, "{known:?}");
    drop(seats);
    drop(executors);
    let mounted = fs::read_dir("/sys/fs/cgroup").unwrap();
    let found = mounted.map(|entry| entry.unwrap().path());
    let left = found.filter(|path| known.iter().any(|folder| path.join(&folder[1..]).exists()));
    assert_eq!(left.count(), 0);
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

/// Whoever asks for it; so is one that is refused, in the same words.
pub(crate) fn a_module_is_compiled_once() {
    stand::executors(|executor| {
        let code = executor.compile(COUNTER.as_bytes()).unwrap();
        let again = executor.compile(COUNTER.as_bytes()).unwrap();
        assert!(std::sync::Arc::ptr_eq(&code, &again));
        let refused = || executor.compile(b"(module (memory 1 1 shared))").err();
        let said = [refused(), refused()].map(|crash| crash.unwrap().to_string());
        assert!(said[0].contains("threads"), "{}", said[0]);
        assert_eq!(said[0], said[1]);
    });
}

/// The controller of sandboxed canisters meets nothing of what they are made of.
pub(crate) fn the_controller_meets_no_guest() {
    let counts = || Deed::ALL.map(Deed::count);
    let executor = stand::sandboxed();
    let packed = {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut writer, &wat::parse_str(COUNTER).unwrap()).unwrap();
        writer.finish().unwrap()
    };
    let code = executor.compile(&packed).unwrap();
    let mut stand = Stand::of(&executor, &code);
    stand.update("increment").unwrap();
    stand.query("get").unwrap();
    stand.update("add_and_trap").unwrap_err();
    executor
        .compile(b"(module (memory 1 1 shared))")
        .err()
        .unwrap();
    assert_eq!(counts(), [0; 5]);
    // They are counted: here, where it is done.
    stand::in_process(|executor| {
        let code = executor.compile(&packed).unwrap();
        let mut stand = Stand::of(executor, &code);
        stand.query("get").unwrap();
    });
    assert!(counts().iter().all(|count| *count > 0), "{:?}", counts());
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

/// 64 MiB, of which each page is written once, and then read in order.
const READS: &str = r#"(module (memory 1024)
  (func $walk (param $writes i32) (local $at i32)
    (loop $next
      (if (local.get $writes)
        (then (i32.store (local.get $at) (i32.const 1)))
        (else (drop (i32.load (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 67108864)))))
  (func (export "canister_init") (call $walk (i32.const 1)))
  (func (export "canister_update read") (call $walk (i32.const 0)))
  (func (export "canister_query ask") (call $walk (i32.const 0))))"#;

/// The kernel maps what is committed around a page that is read.
pub(crate) fn pages_that_are_read_in_order_come_together() {
    let executor = stand::sandboxed();
    let mut stand = Stand::new(&executor, READS);
    // A new place has all of it before it.
    stand.reopen(&executor);
    while workers().len() > 1 {
        std::thread::yield_now();
    }
    let [worker] = workers().into_iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", workers());
    };
    let faults = || {
        let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        let after = stat.rsplit_once(") ").unwrap().1;
        // minflt, proc(5)
        after.split(' ').nth(7).unwrap().parse::<u64>().unwrap()
    };
    let mut last = faults();
    let mut taken = |what| {
        let before = std::mem::replace(&mut last, faults());
        let taken = last - before;
        assert!(taken < 16_384 / 8, "{taken} faults for 16384 pages, {what}");
    };
    assert_eq!(stand.query_without_answer("ask"), None);
    taken("query");
    assert_eq!(stand.update_without_answer("read"), None);
    taken("update");
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
