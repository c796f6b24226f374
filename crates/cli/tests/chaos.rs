//! The supervisor is killed at a random moment: everything inside dies with it, and nothing of
//! it stays on the machine.
//!
//! This process adopts what is orphaned below it (PR_SET_CHILD_SUBREAPER in prctl(2)), so the
//! sandbox's init becomes its child, and waiting until there are no children left proves that
//! the whole tree is gone: the kernel doesn't let go of a pid namespace's init before every other
//! process in it is dead.
//!
//! `cargo xtask chaos` runs the same with more rounds, alone on the machine, and then compares
//! the shared folders as a whole.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait,
};
use sandbox::{Stage, as_root, as_user};
use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many rounds; the test's own number is small.
const ROUNDS: &str = "CASEMATE_CHAOS_ROUNDS";
const FEW: u32 = 30;

/// Set if nothing else on the machine makes mounts or temporary files at the same time.
const ALONE: &str = "CASEMATE_CHAOS_ALONE";

/// A whole run of the quickest program takes about half of it.
const LATEST: u64 = 40_000;

/// Where temporary files would be.
const SHARED: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// Forks, writes to the workspace and to each private folder, and never ends.
const PROGRAM: &str = "for i in 1 2 3; do (while :; do echo $i > f$i; echo $i > /tmp/$i; echo $i > /dev/shm/$i; sleep 0.001; done) & done; \
                       setsid sleep 1000 & trap '' TERM HUP INT; while :; do date > ~/date; done";

/// Tests of one process would wait for each other's children.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn killed_at_random_as_root() {
    as_root(chaos);
}

#[test]
fn killed_at_random_as_user() {
    as_user(chaos);
}

#[test]
fn ended_while_it_starts_as_root() {
    as_root(ended_while_it_starts);
}

#[test]
fn ended_while_it_starts_as_user() {
    as_user(ended_while_it_starts);
}

/// The first milliseconds: namespaces are made, init is cloned, and little of it is tied to
/// anything yet. A signal of either kind, or the time limit, comes in between.
fn ended_while_it_starts(stage: &Stage) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    stage.folder("temporary");
    let ways: [&[&str]; 3] = [&[], &["--time", "1ms"], &["--time", "5ms"]];
    let mut children = 0;
    for round in 0..EARLY_ROUNDS {
        let moment = Duration::from_micros(RandomState::new().build_hasher().finish() % EARLIEST);
        let signal = [Signal::TERM, Signal::KILL][round % 2];
        let flags = ways[round / 2 % ways.len()];
        let what = format!("round {round}, {flags:?}, {signal:?} after {moment:?}");
        let pid = spawn(stage, flags, &["/usr/bin/sleep", "1000"]);
        std::thread::sleep(moment);
        // A time limit may have been faster.
        let _ = kill_process(pid, signal);
        children += all_ended(pid, &what).1;
        let left = processes(stage);
        assert!(left.is_empty(), "{what}: left behind: {left:#?}");
    }
    assert!(children > 0, "no supervisor ended before its sandbox");
}

/// The ids of another user are mapped by the supervisor, for which init waits: it must not wait
/// for one that is dead.
#[test]
fn killed_before_the_ids_are_mapped() {
    as_root(|stage| {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        stage.folder("temporary");
        stage.write("policy.yaml", IDENTITY);
        let policy = stage.text("policy.yaml");
        let (mut early, mut round) = (0, 0);
        while early < 5 {
            assert!(
                round < 500,
                "init was never seen before its ids were mapped"
            );
            round += 1;
            let flags = ["--policy", &policy, "--ro", "."];
            let pid = spawn(stage, &flags, &["/usr/bin/sleep", "1000"]);
            let map = init_of(pid);
            kill_process(pid, Signal::STOP).unwrap();
            early += u32::from(fs::read_to_string(map).is_ok_and(|map| map.is_empty()));
            kill_process(pid, Signal::KILL).unwrap();
            all_ended(pid, &format!("round {round}"));
        }
    });
}

/// Waits for the init of a supervisor; returns the path of its id map.
fn init_of(supervisor: Pid) -> PathBuf {
    let supervisor = supervisor.as_raw_nonzero();
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let path = format!("/proc/{supervisor}/task/{supervisor}/children");
        let pids = fs::read_to_string(path).unwrap_or_default();
        let is_init = |pid: &&str| {
            fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespace != own)
        };
        if let Some(init) = pids.split_whitespace().find(is_init) {
            return PathBuf::from(format!("/proc/{init}/uid_map"));
        }
    }
    panic!("no init was made");
}

/// Rounds, and the moment by which most of a start is done, microseconds.
const EARLY_ROUNDS: usize = 48;
const EARLIEST: u64 = 5000;

const IDENTITY: &str = "version: 1\nprocess: {run_as_user: 4321, run_as_group: 4321}\n";

fn chaos(stage: &Stage) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let rounds =
        std::env::var(ROUNDS).map_or(FEW, |rounds| rounds.parse().expect("a number of rounds"));
    stage.folder("temporary");
    let before = Machine::look();
    // Ids of processes come again.
    let older = cgroups(Path::new(CGROUPS), &|_| true, DEEPEST);
    let (mut killed, mut adopted) = (BTreeSet::new(), 0);
    for round in 0..rounds {
        let moment = Duration::from_micros(RandomState::new().build_hasher().finish() % LATEST);
        let what = format!("round {round}, killed after {moment:?}");
        let flags = FLAGS[round as usize % FLAGS.len()];
        let (pid, orphans) = one(stage, flags, moment, &what);
        killed.insert(pid.as_raw_nonzero().get());
        adopted += orphans;
        let left = before.left(stage);
        assert!(left.is_empty(), "{what}: left behind: {left:#?}");
    }
    // Otherwise none of this means anything.
    assert!(
        adopted > 0,
        "no sandbox had started when its supervisor was killed"
    );
    let written = stage.path("ws/f1").exists();
    assert!(
        written,
        "no program had started when its supervisor was killed"
    );
    after_the_next_command(stage, &killed, &older);
    println!("{rounds} supervisors killed, nothing left");
}

/// Ways to start, as each has objects of its own.
const FLAGS: [&[&str]; 4] = [
    &[],
    &["-t"],
    &["--report", "report.json"],
    &["--memory", "256M", "--pids", "64"],
];

/// Starts a sandbox, kills its supervisor, and waits for the end of every process below. Returns
/// the supervisor's pid and how many others there were.
fn one(stage: &Stage, flags: &[&str], moment: Duration, what: &str) -> (Pid, u32) {
    let pid = spawn(stage, flags, &["/usr/bin/bash", "-c", PROGRAM]);
    std::thread::sleep(moment);
    kill_process(pid, Signal::KILL).unwrap();
    let (status, orphans) = all_ended(pid, what);
    let signal = status.and_then(WaitStatus::terminating_signal);
    assert_eq!(signal, Some(9), "{what}: it ended before it was killed");
    (pid, orphans)
}

/// Starts a supervisor.
fn spawn(stage: &Stage, flags: &[&str], program: &[&str]) -> Pid {
    let mut command = stage.casemate();
    // As root without any cgroup, `--pids` is refused.
    command
        .arg("run")
        .args(flags)
        .args(["--allow-missing", "pids-limit", "--"])
        .args(program);
    command
        .env("TMPDIR", stage.path("temporary"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Pid::from_child(&command.spawn().unwrap())
}

/// Waits for the end of every process below. Returns how the supervisor ended and how many others
/// there were.
fn all_ended(supervisor: Pid, what: &str) -> (Option<WaitStatus>, u32) {
    let started = Instant::now();
    let (mut how, mut orphans) = (None, 0);
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == supervisor => how = Some(status),
            Ok(Some(_)) => orphans += 1,
            Ok(None) if started.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Ok(None) => panic!(
                "{what}: processes of the sandbox still run:\n{}",
                children()
            ),
            Err(_) => return (how, orphans),
        }
    }
}

/// Processes that are children of this one, for a message.
fn children() -> String {
    let own = std::process::id();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let pids: String = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .collect();
    let shown = |pid: &str| {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        format!(
            "{pid} (child of {own}): {} wchan {} {}\n",
            read("comm").trim(),
            read("wchan"),
            read("stat").trim()
        )
    };
    pids.split_whitespace().map(shown).collect()
}

/// What a leak would add to.
struct Machine {
    mounts: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Machine {
    fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let files = SHARED
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            files: files.map(|entry| entry.path()).collect(),
        }
    }

    /// What is there now and was not before.
    fn left(&self, stage: &Stage) -> Vec<String> {
        let now = Self::look();
        let mine = |text: &str| {
            std::env::var_os(ALONE).is_some()
                || (text.contains("casemate") && !text.contains("casemate-test-"))
        };
        let mounts = now
            .mounts
            .difference(&self.mounts)
            .filter(|mount| mine(mount) || mount.contains(&stage.text("")));
        let files = now
            .files
            .difference(&self.files)
            .map(|path| path.display().to_string());
        let private = fs::read_dir(stage.path("temporary"))
            .unwrap()
            .flatten()
            .map(|entry| entry.path().display().to_string());
        mounts
            .cloned()
            .chain(files.filter(|path| mine(path)))
            .chain(private)
            .chain(processes(stage))
            .collect()
    }
}

/// Processes whose command line names the stage; the program inside is started from there.
fn processes(stage: &Stage) -> Vec<String> {
    let folder = stage.text("");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.contains(folder.trim_end_matches('/')))
        .collect()
}

/// Only root leaves something: the folders of a cgroup that died with its supervisor. The next
/// command removes them.
fn after_the_next_command(stage: &Stage, killed: &BTreeSet<i32>, older: &[PathBuf]) {
    stage.run(["--", "true"]).assert_out("");
    let mut left = cgroups(Path::new(CGROUPS), &|pid| killed.contains(&pid), DEEPEST);
    left.retain(|cgroup| !older.contains(cgroup));
    assert!(left.is_empty(), "cgroups were left: {left:#?}");
}

const CGROUPS: &str = "/sys/fs/cgroup";
const DEEPEST: u32 = 8;

/// Cgroups of these supervisors, by the pid in the folder's name.
fn cgroups(folder: &Path, wanted: &dyn Fn(i32) -> bool, depth: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let is_wanted = |name: &str| {
        name.strip_prefix("casemate-")
            .and_then(|pid| pid.parse().ok())
            .is_some_and(wanted)
    };
    folders
        .flat_map(|entry| match entry.file_name().to_string_lossy() {
            name if is_wanted(&name) => vec![entry.path()],
            _ if depth > 0 => cgroups(&entry.path(), wanted, depth - 1),
            _ => Vec::new(),
        })
        .collect()
}
