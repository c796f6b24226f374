//! What each half of a test runs, and what it must come to.

use std::fs::File;
use std::process::Command;

use crate::process::Run;
use crate::stage::{Stage, User};

const CROSSED: i32 = 0;
const BLOCKED: i32 = 77;
/// Casemate's own exit codes for a limit that was reached: memory, processes, disk.
const LIMITS: [i32; 3] = [120, 121, 122];
/// What a kernel answers that does not have a feature at all.
const ABSENT: [&str; 10] = [
    "ENOSYS",
    "ENOENT",
    "EAFNOSUPPORT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EOPNOTSUPP",
    "ENODEV",
    "ENXIO",
    "ENOTTY",
    "signal 11",
];

/// One line of `attempt list`.
pub(crate) struct Entry {
    pub(crate) name: String,
    root: bool,
    capability: Option<u32>,
    kernel: Option<String>,
    pub(crate) setting: String,
}

pub(crate) fn catalogue() -> Vec<Entry> {
    let list = Command::new(env!("CARGO_BIN_EXE_attempt"))
        .arg("list")
        .output()
        .unwrap();
    String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .map(Entry::parse)
        .collect()
}

impl Entry {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let needs = || fields[3].split(',');
        let need = |kind: &str| needs().find_map(|need| need.strip_prefix(kind));
        Self {
            name: fields[0].to_owned(),
            root: needs().any(|need| need == "root"),
            capability: need("capability:").map(|number| number.parse().unwrap()),
            kernel: need("kernel:").map(str::to_owned),
            setting: fields[4].to_owned(),
        }
    }

    fn named(ident: &str) -> Self {
        let name = ident.replace('_', "-");
        let found = catalogue().into_iter().find(|entry| entry.name == name);
        found.unwrap_or_else(|| panic!("attempt list does not have {name}"))
    }

    /// Why this machine and user cannot show that the attack works, if so.
    fn excuse(&self, run: &Run) -> Option<String> {
        if self.root && unsafe { libc::geteuid() } != 0 {
            return Some("it takes root".to_owned());
        }
        if let Some(number) = self.capability
            && effective_capabilities() >> number & 1 == 0
        {
            return Some(format!("it takes capability {number}"));
        }
        let kernel = self.kernel.as_ref()?;
        let absent = ABSENT.iter().any(|errno| run.output.contains(errno));
        absent.then(|| format!("this machine has no {kernel}"))
    }

    fn uses_up(&self) -> bool {
        matches!(self.setting.as_str(), "memory" | "pids" | "disk")
            || self.name.starts_with("fill")
            || self.name.contains("flood")
    }

    /// The host that it is made on. None, and said so, if it can't be had.
    fn stage(&self, user: User) -> Option<Stage> {
        let stage = Stage::new(user);
        if self.setting != "network" {
            return Some(stage);
        }
        if !is_root() {
            println!("skip: {}: a network of our own takes root", self.name);
            return None;
        }
        Some(stage.with_world())
    }
}

pub(crate) fn is_root() -> bool {
    unsafe { libc::geteuid() == 0 }
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    u64::from_str_radix(set, 16).unwrap()
}

/// Attempts that use up the machine run alone: what they measure is what others would notice.
fn turn(entry: &Entry) -> File {
    let lock = File::create(
        std::env::temp_dir().join(format!("casemate-adversary-{}.lock", unsafe {
            libc::geteuid()
        })),
    )
    .unwrap();
    match entry.uses_up() {
        true => lock.lock().unwrap(),
        false => lock.lock_shared().unwrap(),
    }
    lock
}

/// The first half: the attack works where nothing stops it.
pub(crate) fn crosses_outside(ident: &str) {
    let entry = Entry::named(ident);
    let _turn = turn(&entry);
    let Some(stage) = entry.stage(User::Same) else {
        return;
    };
    let run = stage.run_outside(&entry);
    if run.code == CROSSED {
        return;
    }
    if run.code == BLOCKED
        && let Some(why) = entry.excuse(&run)
    {
        println!(
            "skip: {} outside: {why} ({})",
            entry.name,
            run.output.trim()
        );
        return;
    }
    panic!("{} must cross outside, but: {run}", entry.name);
}

fn is_blocked(ident: &str, user: User) {
    let entry = Entry::named(ident);
    let _turn = turn(&entry);
    let Some(stage) = entry.stage(user) else {
        return;
    };
    let before = stage.snapshot();
    let run = stage.run_inside(&entry);
    let limited = entry.uses_up() && LIMITS.contains(&run.code);
    assert!(
        run.code == BLOCKED || limited,
        "{} must be blocked, but: {run}",
        entry.name
    );
    println!("{}: {run}", entry.name);
    // An attempt sees the inside only. What counts is what became of the host.
    assert_eq!(
        before,
        stage.snapshot(),
        "{} changed the host: {run}",
        entry.name
    );
}

/// The second half, as the user who runs the test.
pub(crate) fn is_blocked_inside(ident: &str) {
    is_blocked(ident, User::Same);
}

/// The second half, as a user without any rights.
pub(crate) fn is_blocked_inside_unprivileged(ident: &str) {
    match unsafe { libc::geteuid() } {
        0 => is_blocked(ident, User::Unprivileged),
        _ => println!("skip: {ident}: this user has no rights already"),
    }
}
