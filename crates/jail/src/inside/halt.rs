//! Stopping everything in a sandbox, and continuing it.
//!
//! kill(2) to -1 reaches every process of the namespace but init at one moment: the kernel holds
//! the list of tasks meanwhile, and a fork(2) that is under way sees the signal first. Processes
//! stop when they leave the kernel, which may take a moment.

use casemate_sys::signal;
use rustix::event::{Timespec, poll};
use rustix::process::Signal;
use std::collections::BTreeSet;

/// How often it is looked whether all have stopped, a millisecond apart.
const LOOKS: usize = 2000;

/// Processes that had been stopped before, by somebody inside.
#[derive(Default)]
pub(super) struct Halted(BTreeSet<i32>);

impl Halted {
    /// Stops everything. False if a process went on after two seconds; it is stopped as soon as
    /// the kernel lets go of it.
    pub(super) fn halt(&mut self) -> bool {
        self.0 = processes()
            .filter(|(_, state)| is_stopped(*state))
            .map(|(pid, _)| pid)
            .collect();
        signal::send(-1, Signal::STOP.as_raw());
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        for _ in 0..LOOKS {
            if processes().all(|(_, state)| is_stopped(state)) {
                return true;
            }
            // Nothing tells of a process that is nobody's child here.
            let _ = poll(&mut [], Some(&pause));
        }
        false
    }

    /// Continues what was stopped by the last [`halt`](Self::halt).
    pub(super) fn resume(&mut self) {
        let before = std::mem::take(&mut self.0);
        // Nothing runs that could fork, so this is all.
        for (pid, _) in processes().filter(|(pid, _)| !before.contains(pid)) {
            signal::send(pid, Signal::CONT.as_raw());
        }
    }
}

/// The processes of this pid namespace besides init, with their states (proc(5)).
fn processes() -> impl Iterator<Item = (i32, u8)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| *pid != 1).filter_map(|pid| {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses, and may hold some of its own.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        Some((pid, *text.get(end + 2)?))
    })
}

/// Stopped, traced and stopped, or dead.
fn is_stopped(state: u8) -> bool {
    matches!(state, b'T' | b't' | b'Z' | b'X')
}
