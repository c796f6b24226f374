//! What the processes look like from outside.

use crate::guest::{DESCRIPTORS, ECHO, LIVE, SEAL, SECRET, TOLD, ask, processes};
use casemate_sys::cgroup::{Cgroup, Wanted};
use casemate_wasm::process::{Processes, Spec, Worker};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

/// A line of /proc/PID/status.
pub(crate) fn status(pid: i32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{key} of {pid}"))
        .trim()
        .to_owned()
}

pub(crate) fn parent(pid: i32) -> i32 {
    status(pid, "PPid:").parse().unwrap()
}

/// Every process with this parent, whatever its state.
pub(crate) fn children(of: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after.split(' ').nth(1) == Some(&of.to_string())
    })
    .collect()
}

fn namespace(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

pub(crate) fn tree_and_parents() {
    let processes = processes("");
    let (a, b) = (processes.worker().unwrap(), processes.worker().unwrap());
    let launcher = parent(a.pid());
    let keeper = parent(launcher);
    assert_eq!(parent(b.pid()), launcher);
    assert_eq!(parent(keeper), std::process::id() as i32);
    assert_eq!(processes.keeper(), Some(keeper));
    assert_eq!(children(keeper), [launcher]);
    for kind in ["user", "mnt", "net", "ipc", "uts", "cgroup", "pid", "time"] {
        let own = namespace(std::process::id() as i32, kind);
        assert_ne!(namespace(a.pid(), kind), own, "{kind}");
        let together = namespace(a.pid(), kind) == namespace(b.pid(), kind);
        assert_eq!(together, kind != "pid", "{kind}");
    }
    let names = [keeper, launcher, a.pid()].map(|pid| status(pid, "Name:"));
    assert_eq!(names, ["wasm-keeper", "wasm-launcher", "wasm-worker"]);
    for pid in [keeper, launcher, a.pid()] {
        assert_eq!(status(pid, "NoNewPrivs:"), "1");
        assert_eq!(status(pid, "CapBnd:"), "0".repeat(16), "{pid}");
        assert_eq!(status(pid, "CapInh:"), "0".repeat(16), "{pid}");
        assert_eq!(status(pid, "CapAmb:"), "0".repeat(16), "{pid}");
        assert!(!status(pid, "Uid:").contains("\t0"), "{pid}");
        assert_eq!(status(pid, "Threads:"), "1");
    }
    for pid in [keeper, a.pid()] {
        assert_eq!(status(pid, "CapEff:"), "0".repeat(16), "{pid}");
        assert_eq!(status(pid, "CapPrm:"), "0".repeat(16), "{pid}");
    }
    assert_eq!(status(a.pid(), "Seccomp:"), "2");
    assert_eq!(status(a.pid(), "THP_enabled:"), "0");
    assert_eq!(status(a.pid(), "NSpid:").split('\t').next_back(), Some("1"));
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", a.pid())).unwrap();
    assert_eq!(score.trim(), "1000");
    let limits = fs::read_to_string(format!("/proc/{}/limits", a.pid())).unwrap();
    for (name, value) in [
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "64"),
        ("Max data size", "4398046511104"),
        ("Max locked memory", "0"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{name}");
    }
    if rustix::process::geteuid().is_root() {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", a.pid())).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        assert!(mounts.contains(" / / ro,"), "{mounts}");
        let root = fs::read_dir(format!("/proc/{}/root", a.pid())).unwrap();
        assert_eq!(root.count(), 0);
        assert_eq!(fs::read(format!("/proc/{}/environ", a.pid())).unwrap(), b"");
    }
}

/// They are in it from their first instruction.
pub(crate) fn cgroup() {
    let wanted = Wanted {
        memory: 256 << 20,
        pids: 100,
        milli_cpus: None,
        ends_together: true,
    };
    let Some(cgroup) = Cgroup::create(&wanted).unwrap() else {
        return println!("  skipped: this user can have no cgroup here");
    };
    let cgroup = Arc::new(cgroup);
    let processes = Processes::new(Spec::default(), Some(Arc::clone(&cgroup)));
    let worker = processes.worker().unwrap();
    let of = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let folder = format!("/casemate-{}", std::process::id());
    for pid in [
        processes.keeper().unwrap(),
        parent(worker.pid()),
        worker.pid(),
    ] {
        assert!(of(pid).contains(&folder), "{}", of(pid));
    }
    drop(worker);
    drop(processes);
    // Nobody is in it any more, and it is removed.
    drop(cgroup);
    let controllers = fs::read_dir("/sys/fs/cgroup").unwrap();
    for controller in controllers.map(|entry| entry.unwrap().path()) {
        assert!(!controller.join(&folder[1..]).exists(), "{controller:?}");
    }
}

pub(crate) fn descriptors() {
    let processes = processes("");
    for _ in 0..4 {
        let mut worker = processes.worker().unwrap();
        let open = ask(&mut worker, DESCRIPTORS, b"").unwrap();
        let open: Vec<i32> = open.split(' ').map(|fd| fd.parse().unwrap()).collect();
        // The standard streams, the control socket, and the two that the runtime opened.
        assert_eq!(open.len(), 6, "{open:?}");
        assert_eq!(open[..4], [0, 1, 2, 3]);
        if rustix::process::geteuid().is_root() {
            let target = |fd: i32| {
                let link = fs::read_link(format!("/proc/{}/fd/{fd}", worker.pid())).unwrap();
                link.to_str().unwrap().to_owned()
            };
            // The device of a file system that is in no tree any more.
            assert_eq!((target(0), target(1)), ("/null".into(), "/null".into()));
            assert!(target(2).starts_with("pipe:"));
            assert!(target(3).starts_with("socket:"));
            let opened: BTreeSet<String> = open[4..].iter().map(|fd| target(*fd)).collect();
            assert!(opened.contains("anon_inode:[userfaultfd]"), "{opened:?}");
            let pagemap = opened.iter().any(|link| link.ends_with("/pagemap"));
            assert!(pagemap, "{opened:?}");
        }
    }
}

/// The controller takes pages out of a worker that can't be dumped, before it is sealed and after.
pub(crate) fn memory_is_read_by_the_controller() {
    let processes = processes("");
    let mut worker = processes.worker().unwrap();
    let address = ask(&mut worker, SECRET, b"").unwrap().parse().unwrap();
    let read = |worker: &Worker| {
        let mut bytes = [0; TOLD.len()];
        let count = casemate_sys::process::read_memory(worker.pid(), address, &mut bytes);
        assert_eq!((count, bytes), (Ok(TOLD.len()), TOLD));
    };
    read(&worker);
    ask(&mut worker, SEAL, b"").unwrap();
    read(&worker);
}

/// The allocator, threads and the requests about pages work; and the environment is empty.
pub(crate) fn a_worker_lives_behind_its_filter() {
    let processes = processes("");
    let mut worker = processes.worker().unwrap();
    let said = ask(&mut worker, LIVE, b"").unwrap();
    assert_eq!(said, format!("{} 10000 {} 0 1 0", 64 << 20, 1 << 20));
}

pub(crate) fn pool() {
    let processes = processes("");
    let first = processes.worker().unwrap();
    let launcher = parent(first.pid());
    let rest = |held: usize| {
        // The launcher refills when nobody asks; it is waited for.
        loop {
            let waiting = children(launcher).len() - held;
            if waiting == 2 {
                return;
            }
            std::thread::yield_now();
        }
    };
    rest(1);
    let many: Vec<Worker> = (0..5).map(|_| processes.worker().unwrap()).collect();
    let pids: BTreeSet<i32> = many.iter().map(Worker::pid).collect();
    assert_eq!(pids.len(), 5);
    rest(6);
    // A death in the pool is noticed, and the next worker is another one.
    let pooled = children(launcher)
        .into_iter()
        .find(|pid| *pid != first.pid() && !pids.contains(pid));
    let pooled = pooled.unwrap();
    crate::deaths::kill(pooled);
    let mut next = processes.worker().unwrap();
    assert_ne!(next.pid(), pooled);
    ask(&mut next, ECHO, b"alive").unwrap();
}

fn own_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn a_hundred_workers() {
    let processes = processes("");
    let kept = processes.worker().unwrap();
    let launcher = parent(kept.pid());
    let before = own_descriptors();
    for round in 0..5 {
        let mut workers: Vec<Worker> = (0..20).map(|_| processes.worker().unwrap()).collect();
        for worker in &mut workers {
            ask(worker, ECHO, b"x").unwrap();
        }
        for worker in &workers {
            worker.kill();
            assert!(
                worker.wait(std::time::Duration::from_secs(60)).is_some(),
                "{round}"
            );
        }
    }
    assert_eq!(own_descriptors(), before);
    while children(launcher).len() > 3 {
        std::thread::yield_now();
    }
    assert_eq!(children(parent(launcher)), [launcher]);
    let own = std::process::id() as i32;
    assert_eq!(children(own), [parent(launcher)]);
    drop((kept, processes));
    assert!(children(own).is_empty());
}

/// How many workers are idle when their memory is looked at.
const MANY: usize = 200;

fn available() -> f64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// How long things take here. Nothing fails on a time; the numbers are printed.
pub(crate) fn times() {
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let start = Instant::now();
    let warm = processes("");
    warm.warm().unwrap();
    let tree = start.elapsed().as_secs_f64() * 1e3;
    let launcher = children(warm.keeper().unwrap())[0];
    let mut pooled = Vec::new();
    for _ in 0..40 {
        let ready = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| status.contains("Seccomp:\t2"))
        };
        while children(launcher).iter().filter(|pid| ready(pid)).count() < 2 {
            std::thread::yield_now();
        }
        let start = Instant::now();
        let worker = warm.worker().unwrap();
        pooled.push(start.elapsed().as_secs_f64() * 1e6);
        worker.kill();
        worker.wait(std::time::Duration::from_secs(60));
    }
    let empty = Processes::new(
        Spec {
            pool: 0,
            ..Default::default()
        },
        None,
    );
    let before = available();
    let held: Vec<(f64, Worker)> = (0..MANY)
        .map(|_| {
            let start = Instant::now();
            let worker = empty.worker().unwrap();
            (start.elapsed().as_secs_f64() * 1e6, worker)
        })
        .collect();
    let pss = |pid: i32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let sizes: Vec<f64> = held
        .iter()
        .filter_map(|(_, worker)| pss(worker.pid()))
        .collect();
    print!(
        "  tree {tree:.1} ms; worker from the pool {:.0} µs, forked on request {:.0} µs",
        median(pooled),
        median(held.iter().skip(1).map(|(time, _)| *time).collect())
    );
    match sizes.is_empty() {
        true => println!(),
        false => println!(
            "; an idle worker among {MANY}: PSS {:.0} KiB, MemAvailable {:.0} KiB",
            median(sizes),
            (before - available()) / MANY as f64
        ),
    }
}
