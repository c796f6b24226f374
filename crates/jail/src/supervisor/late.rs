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
    for _ in 0..MOST_PASSES {
        let pids = processes();
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

/// The processes of this machine, the newest last unless the ids began anew.
fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn namespace_of(pid: i32) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid"))
}
