//! Limits: each one reached, each one that can't be held refused, and what holds the defaults.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both, report, wait_until};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

both!(
    memory_of_one_process,
    memory_of_many_processes,
    memory_that_is_mapped_and_shared,
    memory_in_memfds,
    memory_of_system_v_segments,
    memory_in_private_files,
    memory_below_the_limit,
    a_memory_limit_too_small_to_start_in,
    processes,
    threads,
    processes_below_the_limit,
    disk,
    disk_of_all_private_folders_together,
    disk_beside_a_writable_workspace,
    inodes,
    wall_time,
    wall_time_of_a_program_that_ignores_signals,
    cpu_bandwidth,
    whole_processors,
    a_cpu_limit_that_is_accepted_as_missing,
    disk_quota_of_a_writable_workspace,
    open_files_and_core_dumps,
    defaults_and_what_holds_them,
    a_fork_bomb,
    a_memory_bomb,
    a_disk_filler,
    a_daemon_dies_with_the_program,
    exit_codes_pass_through,
    many_short_runs_at_one_time,
);

/// Touches memory of a kind, mebibyte by mebibyte, and says so if nobody stops it.
const EATER: &str = r#"
import ctypes, mmap, os, sys, time
kind, count = sys.argv[1], int(sys.argv[2])
MIB, held = 1 << 20, []
def touch(area):
    for at in range(0, len(area), 4096): area[at] = 1
if kind == "one":
    for _ in range(count): held.append(bytearray(MIB))
elif kind == "many":
    for _ in range(count // 16):
        if os.fork() == 0:
            held.append(bytearray(16 * MIB)); time.sleep(60); os._exit(0)
elif kind == "shared":
    for _ in range(count): held.append(mmap.mmap(-1, MIB)); touch(held[-1])
elif kind == "memfd":
    fd = os.memfd_create("x")
    for _ in range(count): os.write(fd, b"x" * MIB)
elif kind == "sysv":
    libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
    segment = libc.shmget(0, count * MIB, 0o1600)
    if segment < 0: sys.exit("no segment of that size")
    ctypes.memset(libc.shmat(segment, None, 0), 1, count * MIB)
elif kind == "tmp":
    with open("/tmp/f", "wb") as f:
        for _ in range(count): f.write(b"x" * MIB); f.flush()
time.sleep(2)
print("not stopped")
"#;

/// Runs the eater with 64 MiB and lets it eat.
fn eat(stage: &Stage, kind: &str, count: u32) -> Ended {
    stage.write("ws/eater.py", EATER);
    let count = count.to_string();
    stage.run([
        "--memory",
        "64M",
        "--time",
        "20s",
        "--",
        "/usr/bin/python3",
        "eater.py",
        kind,
        &count,
    ])
}

/// Fails unless 64 MiB were too little, and nobody was told otherwise.
#[track_caller]
fn assert_out_of_memory(ended: &Ended) {
    assert_eq!((ended.code, &*ended.out), (120, ""), "{}", ended.err);
    let last = ended.err.lines().last().unwrap_or_default();
    let peak = last.strip_prefix("casemate: stopped: memory limit 64 MiB reached (peak ");
    let peak = peak
        .and_then(|rest| rest.strip_suffix(" MiB)"))
        .unwrap_or_else(|| panic!("{}", ended.err));
    assert!(peak.parse::<f64>().unwrap() >= 60.0, "{last}");
}

fn memory_of_one_process(stage: &Stage) {
    assert_out_of_memory(&eat(stage, "one", 256));
}

fn memory_of_many_processes(stage: &Stage) {
    assert_out_of_memory(&eat(stage, "many", 256));
}

fn memory_that_is_mapped_and_shared(stage: &Stage) {
    assert_out_of_memory(&eat(stage, "shared", 256));
}

fn memory_in_memfds(stage: &Stage) {
    assert_out_of_memory(&eat(stage, "memfd", 256));
}

fn memory_of_system_v_segments(stage: &Stage) {
    let ended = eat(stage, "sysv", 256);
    // It may be refused at once, since its size is known at once.
    if ended.code != 1 {
        return assert_out_of_memory(&ended);
    }
    ended.assert(1, "", "no segment of that size\n");
}

fn memory_in_private_files(stage: &Stage) {
    assert_out_of_memory(&eat(stage, "tmp", 256));
}

fn memory_below_the_limit(stage: &Stage) {
    for kind in ["one", "shared", "tmp"] {
        eat(stage, kind, 16).assert_out("not stopped\n");
    }
}

fn a_memory_limit_too_small_to_start_in(stage: &Stage) {
    stage.run(["--memory", "4K", "--", "true"]).assert(
        125,
        "",
        "casemate: error: limit --memory: the sandbox itself needs 4 MiB\n",
    );
}

fn processes(stage: &Stage) {
    let ended = stage.shell(
        &["--pids", "20"],
        "for i in $(seq 40); do sleep 60 & done 2>/dev/null; wait",
    );
    assert_eq!((ended.code, &*ended.out), (121, ""), "{}", ended.err);
    assert_eq!(
        ended.err.lines().last(),
        Some("casemate: stopped: process limit 20 reached")
    );
    assert!(ended.took < Duration::from_secs(20));
}

fn threads(stage: &Stage) {
    let script = "
import threading, time
try:
    for _ in range(40): threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
except RuntimeError: time.sleep(1)
";
    let ended = stage.python(&["--pids", "20"], script);
    ended.assert(121, "", "casemate: stopped: process limit 20 reached\n");
}

fn processes_below_the_limit(stage: &Stage) {
    let script = "for i in $(seq 15); do sleep 0.2 & done; wait; echo fine";
    stage.shell(&["--pids", "20"], script).assert_out("fine\n");
}

fn disk(stage: &Stage) {
    let ended = stage.shell(
        &["--disk", "4M", "--ro", "."],
        "cat /dev/zero > /tmp/full 2>/dev/null; echo on",
    );
    // It may be stopped before it says more.
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (122, "casemate: stopped: disk limit 4 MiB reached\n")
    );
    let ended = stage.shell(
        &["--disk", "4M", "--ro", "."],
        "head -c 1M /dev/zero > /tmp/some && echo fine",
    );
    ended.assert_out("fine\n");
}

fn disk_of_all_private_folders_together(stage: &Stage) {
    let script = "for folder in /tmp /var/tmp /run /dev/shm $HOME; do head -c 1M /dev/zero > $folder/x || exit 1; done 2>/dev/null";
    stage
        .shell(&["--disk", "8M", "--ro", "."], script)
        .assert_out("");
    let ended = stage.shell(&["--disk", "4M", "--ro", "."], script);
    ended.assert(122, "", "casemate: stopped: disk limit 4 MiB reached\n");
}

fn disk_beside_a_writable_workspace(stage: &Stage) {
    let flags = ["--disk", "4M", "--allow-missing", "disk-quota"];
    let ended = stage.shell(
        &flags,
        "head -c 8M /dev/zero > here; cat /dev/zero > /tmp/full 2>/dev/null; echo on",
    );
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (122, "casemate: stopped: disk limit 4 MiB reached\n")
    );
    assert_eq!(stage.path("ws/here").metadata().unwrap().len(), 8 << 20);
}

fn inodes(stage: &Stage) {
    // The least that there is; see Limits::inodes_for.
    let script = "cd /tmp; i=0; while mkdir d$i 2>/dev/null; do i=$((i+1)); done; echo on";
    let ended = stage.shell(&["--disk", "4M", "--ro", "."], script);
    // It may be stopped before it says more.
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (122, "casemate: stopped: inode limit 1024 reached\n")
    );
}

fn wall_time(stage: &Stage) {
    for (flag, shown, most) in [("300ms", "300ms", 2), ("1s", "1s", 3), ("1", "1s", 3)] {
        let ended = stage.shell(&["--time", flag], "echo on; sleep 30; echo off");
        ended.assert(
            124,
            "on\n",
            &format!("casemate: stopped: time limit {shown} reached\n"),
        );
        assert!(ended.took < Duration::from_secs(most), "{:?}", ended.took);
    }
    stage
        .shell(&["--time", "30s"], "echo fine")
        .assert_out("fine\n");
}

fn wall_time_of_a_program_that_ignores_signals(stage: &Stage) {
    let ended = stage.shell(
        &["--time", "500ms"],
        "trap '' TERM INT HUP QUIT; (sleep 30 &); while :; do :; done",
    );
    ended.assert(124, "", "casemate: stopped: time limit 500ms reached\n");
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
    stage.assert_nothing_left();
}

fn cpu_bandwidth(stage: &Stage) {
    if !has(stage, "cpu-limit") {
        return stage.run(["--cpus", "0.5", "--", "touch", "ran"]).assert(
            125,
            "",
            "casemate: error: limit --cpus: this user has no cgroup with the cpu controller\n\
             hint: run it in a delegated cgroup, as `systemd-run --user --scope -p Delegate=yes casemate …` does; \
             whole processors need none; --allow-missing cpu-limit accepts running without it\n",
        );
    }
    let flags = ["--cpus", "0.5", "--time", "3s", "--report", "-"];
    let ended = stage.shell(&flags, "while :; do :; done & while :; do :; done");
    let used = report(&ended.out);
    let number = |name: &str| used[name].as_f64().unwrap();
    let share = (number("user_seconds") + number("system_seconds")) / number("wall_seconds");
    // The kernel hands out bandwidth in slices, of which one may be carried over; a busy machine
    // gives less.
    assert!(
        (0.05..=0.6).contains(&share),
        "{share} of a CPU with --cpus 0.5"
    );
}

fn whole_processors(stage: &Stage) {
    if has(stage, "cpu-limit") || std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: a cgroup holds this limit, or there is one processor");
        return;
    }
    let script = "nproc; taskset -pc 0-1 $$ >/dev/null; nproc";
    let ended = stage.shell(&["--cpus", "1"], script);
    assert_eq!((ended.code, &*ended.out), (0, "1\n1\n"), "{ended:?}");
    let refused = "failed to set pid ";
    assert!(ended.err.contains(refused), "{}", ended.err);
    let told = report(&stage.shell(&["--cpus", "1", "--report", "-"], "").out);
    let cpus = limit(&told, "cpus");
    assert_eq!(cpus["by"], "the processors that it may run on");
    assert_eq!(cpus["strong"], true);
}

fn a_cpu_limit_that_is_accepted_as_missing(stage: &Stage) {
    let flags = [
        "--cpus",
        "0.5",
        "--allow-missing",
        "cpu-limit",
        "--report",
        "-",
    ];
    let told = report(&stage.shell(&flags, "").out);
    let cpus = limit(&told, "cpus");
    let held = has(stage, "cpu-limit");
    assert_eq!(cpus["value"], "0.50");
    assert_eq!(cpus["strong"], held);
    assert_eq!(cpus["by"] == "nothing", !held);
}

fn disk_quota_of_a_writable_workspace(stage: &Stage) {
    let message = format!(
        "casemate: error: limit --disk {}: a writable folder of the host has no quota that a sandbox could set\n\
         hint: make it read-only with --ro, or accept a limit on the private folders alone with \
         --allow-missing disk-quota\n",
        stage.text("ws")
    );
    stage
        .run(["--disk", "1G", "--", "touch", "ran"])
        .assert(125, "", &message);
    assert!(!stage.path("ws/ran").exists());
}

fn open_files_and_core_dumps(stage: &Stage) {
    let ended = stage.run([
        "--",
        "bash",
        "-c",
        "ulimit -Hc; ulimit -Sc; ulimit -Hn; ulimit -Sn; ulimit -n 999999 || echo no",
    ]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines[..2], ["0", "0"]);
    let most: u64 = lines[2].parse().unwrap();
    assert!(most <= 16_384, "{most} open files");
    assert_eq!((lines[3], lines[4]), (lines[2], "no"));
}

fn defaults_and_what_holds_them(stage: &Stage) {
    // Long enough for a version 1 cgroup, which a run enters a moment after its start.
    let told = report(&stage.shell(&["--report", "-"], "sleep 0.5").out);
    let names: Vec<&str> = told["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["memory", "pids", "disk", "inodes", "open files"]);
    assert_eq!(limit(&told, "pids")["value"], "2048");
    assert_eq!(limit(&told, "open files")["value"], "16384");
    assert_eq!(limit(&told, "open files")["by"], "RLIMIT_NOFILE");
    assert_eq!(limit(&told, "open files")["strong"], true);
    for (name, check) in [("memory", "memory-limit"), ("pids", "pids-limit")] {
        let (state, held) = (limit(&told, name), has(stage, check));
        let by = state["by"].as_str().unwrap();
        assert_eq!(by.starts_with("cgroup v"), held, "{name} by {by}");
        assert!(held || by.contains("RLIMIT"), "{name} by {by}");
        // As root on version 1, a run for which nothing was asked enters its cgroup late.
        let late = by.contains("after the start");
        assert!(!held || late || state["strong"] == true, "{name} by {by}");
    }
    // A writable workspace has no quota, and the report says so.
    assert_eq!(limit(&told, "disk")["strong"], false);
    let told = report(&stage.shell(&["--ro", ".", "--report", "-"], "").out);
    assert_eq!(limit(&told, "disk")["by"], "tmpfs size");
    assert_eq!(limit(&told, "disk")["strong"], true);
}

fn a_fork_bomb(stage: &Stage) {
    let flags = ["--pids", "64", "--time", "20s"];
    let (ended, slowest) = beside(|| {
        stage.run(flags.into_iter().chain([
            "--",
            "bash",
            "-c",
            "bomb() { bomb | bomb & }; bomb; sleep 60",
        ]))
    });
    assert_eq!(ended.code, 121, "{}", ended.err);
    assert_eq!(
        ended.err.lines().last(),
        Some("casemate: stopped: process limit 64 reached")
    );
    assert!(
        slowest < Duration::from_secs(2),
        "starting a program outside took {slowest:?}"
    );
    stage.assert_nothing_left();
}

fn a_memory_bomb(stage: &Stage) {
    let script = "
held = []
while True:
    try: held.append(bytearray(1 << 20))
    except MemoryError: pass
";
    let (ended, slowest) = beside(|| stage.python(&["--memory", "64M", "--time", "20s"], script));
    assert_out_of_memory(&ended);
    assert!(
        slowest < Duration::from_secs(2),
        "starting a program outside took {slowest:?}"
    );
    stage.assert_nothing_left();
}

fn a_disk_filler(stage: &Stage) {
    let script =
        "i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > /tmp/$i || : ; done 2>/dev/null";
    let (ended, slowest) =
        beside(|| stage.shell(&["--disk", "8M", "--ro", ".", "--time", "20s"], script));
    ended.assert(122, "", "casemate: stopped: disk limit 8 MiB reached\n");
    assert!(
        slowest < Duration::from_secs(2),
        "starting a program outside took {slowest:?}"
    );
}

fn a_daemon_dies_with_the_program(stage: &Stage) {
    let script =
        "setsid sh -c '(sleep 1; touch alive) </dev/null >/dev/null 2>&1 &' & sleep 0.2; exit 7";
    stage.shell(&[], script).assert(7, "", "");
    stage.assert_nothing_left();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!stage.path("ws/alive").exists());
}

fn exit_codes_pass_through(stage: &Stage) {
    for code in [
        0, 1, 2, 42, 120, 121, 122, 124, 125, 126, 127, 128, 137, 255,
    ] {
        stage
            .shell(&[], &format!("exit {code}"))
            .assert(code, "", "");
    }
    for signal in [1, 2, 3, 6, 9, 11, 13, 15] {
        stage
            .shell(&[], &format!("kill -{signal} $$; sleep 5"))
            .assert(128 + signal, "", "");
    }
}

/// As root on cgroup version 1, a run for which nothing was asked enters its cgroup when it has
/// begun. A process that forks and ends at once, again and again, is gone whenever it is looked at.
#[test]
fn forks_that_run_from_the_late_cgroup() {
    sandbox::as_root(|stage| {
        let is_late = casemate_sys::cgroup::version() == Some(1);
        if !is_late || !has(stage, "memory-limit") || !has(stage, "pids-limit") {
            return println!("skipped: needs cgroup version 1 with memory and pids");
        }
        for round in 0..12 {
            let folder = format!("ws/{round}");
            stage.write(format!("{folder}/hop"), hopper(1500));
            stage.mode(&format!("{folder}/hop"), 0o755);
            let script = format!("cd {round}; ./hop; sleep 60");
            let mut child = stage.casemate();
            let child = child.args(["run", "--", "sh", "-c", &script]);
            let mut child = child.spawn().unwrap();
            let hopped = stage.path(&format!("{folder}/hopped"));
            wait_until(Duration::from_secs(30), "the hopping to end", || {
                hopped.exists()
            });
            let name = format!("casemate-{}", child.id());
            let mut outside = Vec::new();
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(5) {
                outside = outside_of(&name, child.id());
                if outside.is_empty() {
                    break;
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(outside.is_empty(), "round {round}: {outside:#?}");
        }
    });
}

/// The cgroups of a supervisor's sandbox that are not of this name; it has three processes.
fn outside_of(name: &str, supervisor: u32) -> Vec<String> {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let children = read(format!("/proc/{supervisor}/task/{supervisor}/children"));
    let Some(init) = namespace(children.trim()) else {
        return vec![format!("children of the supervisor: {children:?}")];
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let inside: Vec<String> = pids
        .filter(|pid| namespace(pid).as_ref() == Some(&init))
        .collect();
    let of_process = |pid: &String| {
        let cgroups = read(format!("/proc/{pid}/cgroup"));
        let held = cgroups
            .lines()
            .filter(|line| line.contains(":memory:") || line.contains(":pids:"));
        let out = held.filter(|line| !line.ends_with(name));
        out.map(|line| format!("{pid} {line}")).collect::<Vec<_>>()
    };
    let mut outside: Vec<String> = inside.iter().flat_map(of_process).collect();
    // Init, the shell with its `sleep`, and the one that hopped.
    if inside.len() < 4 {
        outside.push(format!("only {} processes", inside.len()));
    }
    outside
}

/// A program that forks and exits, so many times over, and whose last child makes the folder
/// `hopped` and stays. In machine code, since anything that has a C library forks too slowly.
fn hopper(times: u32) -> Vec<u8> {
    let mut code = vec![0xbb]; // mov ebx, times
    code.extend(times.to_le_bytes());
    code.extend(*b"\xb8\x39\0\0\0\x0f\x05"); // again: fork()
    code.extend(*b"\x85\xc0\x75\x29"); // the parent goes to the end
    code.extend(*b"\xb9\0\0\x01\0\xff\xc9\x75\xfc"); // some 20 microseconds, for init to reap
    code.extend(*b"\xff\xcb\x75\xe8"); // count down, again
    code.extend(*b"\xb8\x53\0\0\0\x48\x8d\x3d\x19\0\0\0\xbe\xed\x01\0\0\x0f\x05"); // mkdir("hopped", 0755)
    code.extend(*b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7"); // pause(), for ever
    code.extend(*b"\x31\xff\xb8\x3c\0\0\0\x0f\x05"); // end: exit(0)
    code.extend(*b"hopped\0");
    // elf(5): the file header, one program header, and the code behind them.
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(*b"\x02\0\x3e\0\x01\0\0\0");
    file.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).as_flattened());
    file.extend(*b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    file.extend(*b"\x01\0\0\0\x05\0\0\0");
    file.extend(
        [0, BASE, BASE, size, size, 0x1000]
            .map(u64::to_le_bytes)
            .as_flattened(),
    );
    file.extend(code);
    file
}

/// Runs that end just as the supervisor looks at their limits, and that make and remove their
/// cgroups beside each other, end like any other.
fn many_short_runs_at_one_time(stage: &Stage) {
    let series = || {
        for _ in 0..100 {
            stage.shell(&[], "kill -13 $$; sleep 5").assert(141, "", "");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(series);
        }
    });
}

/// Runs something and starts programs outside all the while; the slowest start is a measure of
/// how well the host still answers.
fn beside(run: impl FnOnce() -> Ended) -> (Ended, Duration) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let started = Instant::now();
                assert!(
                    std::process::Command::new("true")
                        .status()
                        .unwrap()
                        .success()
                );
                slowest = slowest.max(started.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            slowest
        });
        let ended = run();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        (ended, watch.join().unwrap())
    })
}

fn limit<'a>(told: &'a Value, name: &str) -> &'a Value {
    let limits = told["limits"].as_array().unwrap();
    limits
        .iter()
        .find(|limit| limit["name"] == name)
        .unwrap_or_else(|| panic!("no limit {name}: {told}"))
}

/// True if `casemate doctor` says that this user has it in full.
fn has(stage: &Stage, check: &str) -> bool {
    let found = report(&Ended::of(stage.casemate().args(["doctor", "--json"])).out);
    let checks = found["checks"].as_array().unwrap();
    checks
        .iter()
        .any(|found| found["name"] == check && found["status"] == "ok")
}
