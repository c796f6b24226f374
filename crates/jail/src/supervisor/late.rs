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
use std::ffi::OsString;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a run lives without a cgroup.
pub(super) const AFTER: Duration = Duration::from_millis(25);
/// A tree that grows faster than it is moved is a bomb, and is left to the counters.
const MOST_PASSES: u32 = 200;

/// A thread that moves a tree.
pub(super) struct LateCgroup(JoinHandle<Option<Cgroup>>);

impl LateCgroup {
    /// Starts to move the pid namespace of this init.
    pub(super) fn start(wanted: Wanted, init: i32) -> Result<Self> {
        let work = move || {
            let cgroup = Cgroup::create(&wanted).ok()??;
            move_in(&cgroup, init).then_some(cgroup)
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

    /// The cgroup, once every process is in it.
    pub(super) fn finish(self) -> Option<Cgroup> {
        self.0.join().ok().flatten()
    }
}

/// Moves every process of the namespace, and those that were forked meanwhile, until a pass
/// finds none outside. A child of one that is inside is inside.
fn move_in(cgroup: &Cgroup, init: i32) -> bool {
    let Some(namespace) = namespace_of(&init.to_string()) else {
        return false;
    };
    let mut moved = BTreeSet::new();
    for _ in 0..MOST_PASSES {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return false;
        };
        let mut found = false;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if moved.contains(&pid) || namespace_of(&pid.to_string()).as_ref() != Some(&namespace) {
                continue;
            }
            found = true;
            // One that is gone needs no limit; one that can't be moved is seen again.
            if cgroup.add(pid).is_ok() {
                moved.insert(pid);
            }
        }
        if !found {
            return true;
        }
    }
    false
}

fn namespace_of(pid: &str) -> Option<OsString> {
    std::fs::read_link(Path::new("/proc").join(pid).join("ns/pid"))
        .ok()
        .map(Into::into)
}
