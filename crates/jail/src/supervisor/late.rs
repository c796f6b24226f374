//! A version 1 cgroup that a run enters a moment after its start.
//!
//! To move a process into a version 1 cgroup, the kernel waits until every CPU has passed a
//! quiet moment: some 10 ms, ten times what the rest of a short run takes. So where no limit was
//! asked for, the program starts at once, its memory and tasks are counted meanwhile, and a
//! thread moves the whole tree in when it has lived for a while. What a program can do in that
//! while is bounded by its length; a limit that was asked for holds from the first instruction.

use casemate_core::error::{Error, Result};
use casemate_sys::cgroup::{Cgroup, Wanted};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a run lives without a cgroup.
pub(super) const AFTER: Duration = Duration::from_millis(25);
/// A tree that changes faster than it is moved is a bomb, and what is outside of the cgroup then is
/// left to the counters.
const MOST_PASSES: u32 = 400;

/// A thread that moves a tree.
pub(super) struct LateCgroup(JoinHandle<Option<Entered>>);

/// A cgroup that a tree was moved into.
pub(super) struct Entered {
    pub(super) cgroup: Cgroup,
    /// Every process is in it.
    pub(super) is_whole: bool,
}

impl LateCgroup {
    /// Starts to move the pid namespace of this init.
    pub(super) fn start(wanted: Wanted, init: i32) -> Result<Self> {
        let work = move || {
            let cgroup = Cgroup::create(&wanted).ok()??;
            let is_whole = move_in(&cgroup, init);
            Some(Entered { cgroup, is_whole })
        };
        let thread = std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(work);
        thread
            .map(Self)
            .map_err(|error| Error::io("start a thread for the cgroup", &error))
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_finished()
    }

    /// The cgroup, when the thread is done.
    pub(super) fn finish(self) -> Option<Entered> {
        self.0.join().ok().flatten()
    }
}

/// Moves every process of the namespace, and those that were forked meanwhile, until a pass finds
/// none outside. A child of one that is inside is inside.
///
/// A process that forks and ends at once is gone when it is looked at, and its child may be
/// outside. So a pass in which one went away proves nothing, and the newest come first.
fn move_in(cgroup: &Cgroup, init: i32) -> bool {
    let Ok(namespace) = namespace_of(init) else {
        return false;
    };
    // Processes that are in, or none of the sandbox's.
    let mut settled = BTreeSet::new();
    let mut later = Later::than(init);
    for _ in 0..MOST_PASSES {
        let pids = later.processes();
        let mut is_whole = !pids.is_empty();
        for pid in pids.into_iter().rev() {
            if settled.contains(&pid) {
                continue;
            }
            let is_settled = match namespace_of(pid) {
                Ok(found) if found == namespace => {
                    is_whole = false;
                    cgroup.add(pid).is_ok()
                }
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::PermissionDenied,
            };
            is_whole &= is_settled;
            if is_settled {
                settled.insert(pid);
            }
        }
        if is_whole {
            return true;
        }
    }
    false
}

/// Processes that are as young as an init, or younger: to look at all of a machine with a thousand
/// sandboxes takes longer than to make one.
struct Later {
    init: i32,
    /// The id that was given out last, as far as it is known; none if ids began anew since.
    last: Option<i32>,
}

impl Later {
    fn than(init: i32) -> Self {
        Self {
            init,
            last: Some(init),
        }
    }

    /// The newest last, unless the ids began anew.
    fn processes(&mut self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pids: Vec<i32> = pids.collect();
        // Asked afterwards, so that whoever is in the list is known about.
        self.see(last_pid());
        let first = self.last.map_or(0, |_| self.init);
        pids.into_iter().filter(|pid| *pid >= first).collect()
    }

    /// Ids grow until they begin anew (pid_namespaces(7)).
    fn see(&mut self, now: Option<i32>) {
        self.last = self.last.and_then(|last| now.filter(|now| *now >= last));
    }
}

/// The id that this pid namespace gave out last (proc(5), /proc/loadavg).
fn last_pid() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().last()?.parse().ok()
}

fn namespace_of(pid: i32) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid"))
}

#[cfg(test)]
mod tests {
    use super::{Later, last_pid};

    #[test]
    fn ids_that_began_anew_make_everybody_a_candidate() {
        let own = std::process::id() as i32;
        let mut later = Later::than(own);
        assert!(last_pid().is_some());
        later.see(Some(own + 1));
        assert_eq!(later.last, Some(own + 1));
        later.see(Some(own));
        later.see(Some(own + 5));
        assert_eq!(later.last, None);
        let all = later.processes();
        assert!(all.contains(&1) && all.contains(&own));
    }

    #[test]
    fn nobody_younger_is_left_out() {
        let own = std::process::id() as i32;
        let pids = Later::than(own).processes();
        assert!(pids.contains(&own));
        let mut anew = Later::than(i32::MAX);
        assert!(anew.processes().contains(&1), "no id is larger");
    }
}
