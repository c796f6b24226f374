//! The processes that this one has started, and theirs.

use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A process as `/proc` has it.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) id: i32,
    parent: i32,
    /// Whether the others die with it.
    pub(crate) is_keeper: bool,
    /// Time on processors so far, in ticks of 10 ms.
    pub(crate) ticks: u64,
}

/// All processes below this one, in the order of their ids.
pub(crate) fn below() -> Vec<Process> {
    let all: BTreeMap<i32, Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, process(id)?)))
        .collect();
    let own = std::process::id() as i32;
    let is_below = |process: &&Process| {
        let mut at = process.parent;
        while at > 1 && at != own {
            at = all.get(&at).map_or(0, |process| process.parent);
        }
        at == own
    };
    all.values().filter(is_below).copied().collect()
}

fn process(id: i32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may have anything in it; what follows its last bracket has numbers only.
    let (name, rest) = text.rsplit_once(") ")?;
    let field = |number: usize| rest.split(' ').nth(number - 3);
    Some(Process {
        id,
        parent: field(4)?.parse().ok()?,
        is_keeper: name.ends_with("(wasm-keeper"),
        ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
    })
}

/// What processors have spent on this process and on each of those below it.
pub(crate) struct Spent {
    own: Duration,
    others: BTreeMap<i32, u64>,
}

impl Spent {
    pub(crate) fn so_far() -> Self {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        // Each of them has one thread.
        let spent = |process: &Process| {
            let text = fs::read_to_string(format!("/proc/{}/schedstat", process.id)).ok()?;
            Some((process.id, text.split(' ').next()?.parse().ok()?))
        };
        Self {
            own: Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec as u32),
            others: below().iter().filter_map(spent).collect(),
        }
    }

    /// Since another time. What ended in between isn't known any more, and not counted.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let others = self
            .others
            .iter()
            .map(|(id, spent)| spent.saturating_sub(before.others.get(id).copied().unwrap_or(0)));
        self.own.saturating_sub(before.own) + Duration::from_nanos(others.sum())
    }
}

/// Its share of memory (PSS), MiB.
pub(crate) fn share(id: i32) -> Option<f64> {
    kib(&format!("/proc/{id}/smaps_rollup"), "Pss:")
}

/// What the machine has left, MiB.
pub(crate) fn available() -> Option<f64> {
    kib("/proc/meminfo", "MemAvailable:")
}

fn kib(file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number / 1024.0)
}
