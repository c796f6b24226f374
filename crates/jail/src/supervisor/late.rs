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
use std::time::{Duration, Instant};

/// How long a run lives without a cgroup.
pub(super) const AFTER: Duration = Duration::from_millis(25);
/// For how long a tree is looked through. One that changes faster than it is moved is a bomb, and
/// what is outside of the cgroup then is left to the counters.
const PATIENCE: Duration = Duration::from_secs(5);

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
/// outside. So a pass in which one went away proves nothing, and the newest come first. To hit such
/// a one takes a hundred passes and more, each of which is some 100 microseconds.
fn move_in(cgroup: &Cgroup, init: i32) -> bool {
    let Ok(namespace) = namespace_of(init) else {
        return false;
    };
    // Processes that are in, or none of the sandbox's.
    let mut settled = BTreeSet::new();
    let mut later = Later::than(init);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let (pids, began_anew) = later.processes();
        if pids.is_empty() {
            // Init has ended, and all with it.
            return false;
        }
        if began_anew {
            // A number may be another process's by now.
            settled.clear();
        }
        let mut is_whole = !began_anew;
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
    /// The lowest id that a process of the tree can have.
    first: i32,
    /// The id that was given out last, as far as it is known.
    last: i32,
}

impl Later {
    fn than(init: i32) -> Self {
        Self {
            first: init,
            last: init,
        }
    }

    /// The newest last, and whether ids began anew since the last time: then a new process may have
    /// any, and may have got it behind the back of whoever read the list.
    fn processes(&mut self) -> (Vec<i32>, bool) {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut pids: Vec<i32> = pids.collect();
        // Asked afterwards, so that whoever is in the list is known about.
        let began_anew = self.see(last_pid());
        pids.retain(|pid| *pid >= self.first);
        (pids, began_anew)
    }

    /// Ids grow until they begin anew (pid_namespaces(7)). True if they did.
    fn see(&mut self, now: Option<i32>) -> bool {
        let began_anew = now.is_some_and(|now| now < self.last);
        if began_anew || now.is_none() {
            self.first = 0;
        }
        self.last = now.unwrap_or(self.last);
        began_anew
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
        let mut later = Later::than(500);
        assert!(!later.see(Some(510)));
        assert_eq!(later.first, 500);
        assert!(later.see(Some(505)));
        assert_eq!(later.first, 0);
        assert!(!later.see(Some(510)), "once is not twice");
        assert!(later.see(Some(300)));
    }

    #[test]
    fn who_does_not_know_looks_at_all() {
        assert!(last_pid().is_some());
        let mut later = Later::than(500);
        assert!(!later.see(None));
        assert_eq!(later.first, 0);
    }

    #[test]
    fn nobody_younger_is_left_out() {
        let own = std::process::id() as i32;
        let (pids, _) = Later::than(own).processes();
        assert!(pids.contains(&own));
        let (all, began_anew) = Later::than(i32::MAX).processes();
        assert!(began_anew, "no id is larger");
        assert!(all.contains(&1));
    }
}
