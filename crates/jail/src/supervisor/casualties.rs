//! Whom a limit costs its life in a sandbox that stays, where the supervisor counts.
//!
//! A cgroup's limit ends one process, or refuses one. So does this: the largest process goes, and as
//! many as it takes. Neither init nor the agent is one of them: with either, all would be lost.
//!
//! Who was killed may take a moment to go. What it still has is as good as given back, so that
//! nobody else is killed for it; but only for that moment: a tracer can hold up who was killed, and
//! what two share is given back by neither's end alone.

use crate::proc::{self, Size};
use casemate_core::limits::Reached;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long who was killed may take to go, and memory to be less than the limit again.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Casualties {
    killed: u64,
    /// Those that were killed and may still be there, by their number.
    dying: BTreeMap<i32, Dying>,
}

struct Dying {
    /// Its folder in /proc, which belongs to this process whoever gets its number.
    folder: OwnedFd,
    since: Instant,
}

impl Casualties {
    /// How many processes were killed for memory.
    pub(super) fn killed(&self) -> u64 {
        self.killed
    }

    /// Lets go of those that were killed and have gone.
    pub(super) fn forget_gone(&mut self) {
        self.dying
            .retain(|_, dying| proc::lives(dying.folder.as_fd()));
    }

    /// Kills until so much less is used than is there, of what a limit that was reached is about.
    /// False if that can't be had. Those that have gone are [forgotten](Self::forget_gone) already.
    pub(super) fn relieve(
        &mut self,
        proc: BorrowedFd<'_>,
        reached: &Reached,
        mut excess: u64,
    ) -> bool {
        let weight = |size: &Size| match reached {
            Reached::Pids { .. } => size.threads,
            _ => size.memory,
        };
        let mut others = Vec::new();
        for size in proc::sizes(proc) {
            match self.dying.get(&size.pid) {
                None => others.push(size),
                Some(own) if own.since.elapsed() < PATIENCE => {
                    excess = excess.saturating_sub(weight(&size));
                }
                Some(_) => {}
            }
        }
        // The agent was the first one, and numbers that begin anew don't begin as low (RESERVED_PIDS
        // in the kernel).
        others.sort_by_key(|size| size.pid);
        let mut others = others.split_off(others.len().min(1));
        // Of those that are alike the newest, so that a bomb goes before what was there.
        others.sort_by_key(|size| (weight(size), size.pid));
        while excess > 0 {
            let Some(size) = others.pop() else {
                return false;
            };
            let Some(folder) = proc::folder(proc, size.pid) else {
                continue;
            };
            if pidfd_send_signal(&folder, Signal::KILL).is_err() {
                continue;
            }
            excess = excess.saturating_sub(weight(&size));
            if !matches!(reached, Reached::Pids { .. }) {
                self.killed += 1;
            }
            let since = Instant::now();
            self.dying.insert(size.pid, Dying { folder, since });
        }
        true
    }
}
