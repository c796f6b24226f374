//! Control groups: which version is mounted, and can this user set limits in it?
//!
//! A group is made below the caller's own, a limit is written to it, and it is removed again.
//! `cgroups(7)`, `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, set_parent_process_death_signal};

use super::{Attempt, child};

pub mod place;

use place::{Hierarchy, Place};

/// What the names of the probe's groups begin with; the process's number follows.
pub(super) const PREFIX: &str = "casemate-probe-";

/// A resource that a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory, in bytes.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time per period.
    Cpu,
}

impl Resource {
    /// All of them, in the order of [`Cgroups::limits`].
    pub const ALL: [Resource; 3] = [Resource::Memory, Resource::Pids, Resource::Cpu];

    /// The name of its controller.
    pub fn controller(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::Pids => "pids",
            Resource::Cpu => "cpu",
        }
    }

    /// The file of a version 1 group that holds the limit, and one to try.
    fn v1(self) -> (&'static str, &'static str) {
        match self {
            Resource::Memory => ("memory.limit_in_bytes", "67108864"),
            Resource::Pids => ("pids.max", "64"),
            Resource::Cpu => ("cpu.cfs_quota_us", "100000"),
        }
    }

    /// The file of a version 2 group that holds the limit, and one to try.
    fn v2(self) -> (&'static str, &'static str) {
        match self {
            Resource::Memory => ("memory.max", "67108864"),
            Resource::Pids => ("pids.max", "64"),
            Resource::Cpu => ("cpu.max", "100000 100000"),
        }
    }
}

/// Whether a resource can be limited, and by which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A limit was written to a group of ours.
    Held {
        /// 1 or 2.
        version: u8,
    },
    /// Version 2 has the controller, and this user may enable it for groups below its own.
    Delegated,
    /// A controller is mounted and this user may not use it.
    Closed {
        /// 1 or 2.
        version: u8,
        /// What the attempt answered.
        errno: Errno,
    },
    /// No mounted hierarchy has the controller.
    Absent,
}

/// What control groups are worth here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// What is mounted.
    pub hierarchy: Hierarchy,
    /// In the order of [`Resource::ALL`].
    pub limits: [(Resource, Limit); 3],
    /// `cgroup.kill` ended a process in a group of ours (Linux 5.14, version 2 only).
    pub kill: Attempt,
}

/// Makes and removes a group in each hierarchy that has one of the controllers.
pub fn probe() -> Cgroups {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let place = Place::find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    let name = group_name();
    // Nothing may come between making and removing: neither an interrupt nor the parent's end.
    let steps = child::attempt::<4>(child::LIMIT, |slots| {
        block_signals();
        let _ = set_parent_process_death_signal(None);
        for (at, resource) in Resource::ALL.into_iter().enumerate() {
            slots.value(at, encode(limit(&place, resource, &name)));
        }
        slots.note(3, kill(&place, &name));
    });
    // Only a child that was stopped in the middle leaves something to remove.
    for folder in place.all() {
        drop(Group(folder.join(&name)));
    }
    let limit = |at: usize| (Resource::ALL[at], decode(steps.found(at)));
    Cgroups {
        hierarchy: place.hierarchy(),
        limits: std::array::from_fn(limit),
        kill: steps.at(3),
    }
}

/// A name that no other probe uses at this time, also not one in another pid namespace.
fn group_name() -> String {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{PREFIX}{}-{}", std::process::id(), now.as_nanos())
}

/// A group of the probe's own, removed on drop.
struct Group(PathBuf);

impl Group {
    fn below(folder: &Path, name: &str) -> Result<Self, Errno> {
        let path = folder.join(name);
        fs::create_dir(&path).map_err(|error| errno(&error))?;
        Ok(Group(path))
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        // Not fs::write, which would create; a group has the files that it has.
        let opened = fs::OpenOptions::new().write(true).open(self.0.join(file));
        let wrote = opened.and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
        wrote.map_err(|error| errno(&error))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that just ended may keep its group busy for a moment.
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(error) if errno(&error) == Errno::BUSY => std::thread::yield_now(),
                _ => return,
            }
        }
    }
}

fn limit(place: &Place, resource: Resource, name: &str) -> Limit {
    let controller = resource.controller();
    if let Some(folder) = place.v1(controller) {
        let (file, value) = resource.v1();
        let held = Group::below(folder, name).and_then(|group| group.write(file, value));
        return as_limit(1, held);
    }
    match place.v2() {
        Some(folder) if has_controller(folder, controller) => limit_v2(folder, resource, name),
        _ => Limit::Absent,
    }
}

/// Enabled for groups below ours already: write a limit. Not enabled: the file that enables it
/// is opened for writing and left as it is, since enabling would outlive the probe.
fn limit_v2(folder: &Path, resource: Resource, name: &str) -> Limit {
    let (file, value) = resource.v2();
    let held = Group::below(folder, name).and_then(|group| group.write(file, value));
    if held != Err(Errno::NOENT) {
        return as_limit(2, held);
    }
    let enabler = folder.join("cgroup.subtree_control");
    match fs::OpenOptions::new().write(true).open(enabler) {
        Ok(_) => Limit::Delegated,
        Err(error) => as_limit(2, Err(errno(&error))),
    }
}

fn as_limit(version: u8, held: Result<(), Errno>) -> Limit {
    match held {
        Ok(()) => Limit::Held { version },
        Err(errno) => Limit::Closed { version, errno },
    }
}

fn has_controller(folder: &Path, controller: &str) -> bool {
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    offered
        .split_ascii_whitespace()
        .any(|name| name == controller)
}

/// Puts a process into a group and kills the group.
fn kill(place: &Place, name: &str) -> Result<(), Errno> {
    let group = Group::below(place.v2().ok_or(Errno::NOENT)?, name)?;
    let process = child::fork(|| {
        // Dies by the group's kill, or else with its parent.
        std::thread::sleep(child::LIMIT);
    })?;
    let killed = kill_in(&group, process);
    if killed.is_err() {
        child::end(process);
    }
    killed
}

fn kill_in(group: &Group, process: Pid) -> Result<(), Errno> {
    group.write("cgroup.procs", &process.as_raw_nonzero().to_string())?;
    group.write("cgroup.kill", "1")?;
    let signal = child::reap(process).and_then(WaitStatus::terminating_signal);
    let killed = signal == Some(Signal::KILL.as_raw());
    killed.then_some(()).ok_or(Errno::CHILD)
}

fn block_signals() {
    // SAFETY: all zeroes is a valid sigset_t, which sigfillset then fills; sigprocmask reads it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// A limit as one number for the child's notes: the errno above the low two bits.
fn encode(limit: Limit) -> i32 {
    match limit {
        Limit::Absent => 0,
        Limit::Held { version } => i32::from(version),
        Limit::Delegated => 3,
        Limit::Closed { version, errno } => errno.raw_os_error() << 2 | i32::from(version),
    }
}

fn decode(found: Option<i32>) -> Limit {
    let Some(found) = found else {
        return Limit::Absent;
    };
    let version = (found & 3) as u8;
    match (found >> 2, version) {
        (0, 0) => Limit::Absent,
        (0, 3) => Limit::Delegated,
        (0, version) => Limit::Held { version },
        (errno, version) => Limit::Closed {
            version,
            errno: Errno::from_raw_os_error(errno),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_way_out_of_the_child() {
        let errno = Errno::ACCESS;
        for limit in [
            Limit::Absent,
            Limit::Delegated,
            Limit::Held { version: 1 },
            Limit::Held { version: 2 },
            Limit::Closed { version: 1, errno },
            Limit::Closed { version: 2, errno },
        ] {
            assert_eq!(decode(Some(encode(limit))), limit);
        }
        assert_eq!(decode(None), Limit::Absent);
    }
}
