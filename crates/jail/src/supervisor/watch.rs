//! Limits: who holds each one, and whether one was reached.
//!
//! The kernel holds what it can for the whole tree: a cgroup memory, tasks and CPU, a tmpfs its
//! size and inodes, RLIMIT_NPROC the tasks of a user namespace. What it can't hold, the
//! supervisor counts a few times a second, which a burst can outrun; the report says which of
//! the two it was.

use crate::plan::Plan;
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, Limits, Reached};
use casemate_core::report::LimitState;
use casemate_sys::cgroup::{Cgroup, Events, Held, Wanted};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use std::time::{Duration, Instant};

/// How often counters are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The limits of a run that is under way.
pub(super) struct Watch {
    limits: Limits,
    cgroup: Option<Cgroup>,
    held: Held,
    as_root: bool,
    writable_host: bool,
    /// The sandbox's /proc and private disk.
    proc: Option<OwnedFd>,
    disk: Option<OwnedFd>,
    last: Instant,
    /// The largest sum that was counted.
    counted_peak: u64,
}

impl Watch {
    /// Makes the cgroup if there can be one, and refuses a limit that was asked for and can't
    /// be held.
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let spec = &plan.spec;
        let limits = spec.limits.clone();
        let wanted = Wanted {
            memory: limits.memory.value.0,
            // Init counts as one.
            pids: limits.pids.value.saturating_add(1),
            milli_cpus: limits.cpus.map(|cpus| cpus.0),
        };
        let cgroup = Cgroup::create(&wanted).map_err(|errno| {
            Error::errno("make a cgroup", errno.raw_os_error()).hint("`casemate doctor` says which controllers this user has")
        })?;
        let held = cgroup.as_ref().map(Cgroup::held).unwrap_or_default();
        let as_root = plan.host.uid == 0;
        let allowed = |layer| spec.allow_missing.contains(&layer);
        const DELEGATE: &str = "run it in a delegated cgroup, as `systemd-run --user --scope -p Delegate=yes casemate …` does";
        if limits.cpus.is_some() && !held.cpu && !allowed(Layer::CpuLimit) {
            return Err(Error::rule("limit --cpus", "this user has no cgroup with the cpu controller")
                .hint(format!("{DELEGATE}; --allow-missing cpu-limit accepts running without it")));
        }
        // RLIMIT_NPROC doesn't hold for root (setrlimit(2)).
        if limits.pids.asked && as_root && !held.pids && !allowed(Layer::PidsLimit) {
            return Err(Error::rule("limit --pids", "there is no cgroup with the pids controller, and the rlimit does not hold for root")
                .hint("run it as an ordinary user; --allow-missing pids-limit accepts counting instead"));
        }
        let writable_host = !plan.workspaces.is_empty();
        if limits.disk.asked && writable_host && !allowed(Layer::DiskQuota) {
            return Err(Error::rule("limit --disk", "a writable folder of the host has no quota that a sandbox could set")
                .on(plan.workspaces[0].root.display())
                .hint("make it read-only with --ro, or accept a limit on the private folders alone with --allow-missing disk-quota"));
        }
        Ok(Self { limits, cgroup, held, as_root, writable_host, proc: None, disk: None, last: Instant::now(), counted_peak: 0 })
    }

    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    pub(super) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().and_then(Cgroup::clone_into)
    }

    /// Takes what is needed to count.
    pub(super) fn see(&mut self, proc: Option<OwnedFd>, disk: Option<OwnedFd>) {
        self.proc = proc;
        self.disk = disk;
    }

    /// How long until something has to be looked at.
    pub(super) fn next_check(&self, started: Instant) -> Option<Duration> {
        let tick = self.disk.is_some().then(|| TICK.saturating_sub(self.last.elapsed()));
        let time = self.limits.time.map(|time| time.saturating_sub(started.elapsed()));
        [tick, time].into_iter().flatten().min()
    }

    /// True if counters are to be looked at now.
    pub(super) fn is_due(&self) -> bool {
        self.disk.is_some() && self.last.elapsed() >= TICK
    }

    /// The limit that was reached, if one was.
    pub(super) fn check(&mut self, started: Instant) -> Option<Reached> {
        if let Some(max) = self.limits.time
            && started.elapsed() >= max
        {
            return Some(Reached::Time { max });
        }
        if !self.is_due() {
            return None;
        }
        self.last = Instant::now();
        self.reached_by_events(&self.events()).or_else(|| self.reached_on_disk()).or_else(|| self.reached_by_count())
    }

    /// The same after the end, for a program that was faster than the clock.
    pub(super) fn reached_at_end(&self, events: &Events) -> Option<Reached> {
        self.reached_by_events(events).or_else(|| self.reached_on_disk())
    }

    /// The cgroup's counters, and what was counted beside it.
    pub(super) fn events(&self) -> Events {
        let mut events = self.cgroup.as_ref().map(Cgroup::events).unwrap_or_default();
        events.peak_memory = events.peak_memory.max(self.counted_peak);
        events
    }

    fn reached_by_events(&self, events: &Events) -> Option<Reached> {
        if events.oom_kills > 0 {
            let peak = ByteSize(events.peak_memory);
            return Some(Reached::Memory { max: self.limits.memory.value, peak });
        }
        (events.forks_refused > 0).then_some(Reached::Pids { max: self.limits.pids.value })
    }

    fn reached_on_disk(&self) -> Option<Reached> {
        let stat = rustix::fs::fstatvfs(self.disk.as_ref()?).ok()?;
        if stat.f_bfree == 0 {
            return Some(Reached::Disk { max: self.limits.disk.value });
        }
        (stat.f_ffree == 0).then_some(Reached::Inodes { max: self.limits.inodes })
    }

    /// Counts tasks and memory where no cgroup does.
    fn reached_by_count(&mut self) -> Option<Reached> {
        if self.held.memory && self.held.pids {
            return None;
        }
        let (tasks, memory) = count(self.proc.as_ref()?.as_fd());
        let on_disk = rustix::fs::fstatvfs(self.disk.as_ref()?).map_or(0, |s| (s.f_blocks - s.f_bfree) * s.f_frsize);
        let memory = memory + on_disk;
        self.counted_peak = self.counted_peak.max(memory);
        if !self.held.memory && memory > self.limits.memory.value.0 {
            return Some(Reached::Memory { max: self.limits.memory.value, peak: ByteSize(memory) });
        }
        let full = !self.held.pids && tasks > u64::from(self.limits.pids.value);
        full.then_some(Reached::Pids { max: self.limits.pids.value })
    }

    /// Who holds what, for the report.
    pub(super) fn states(&self) -> Vec<LimitState> {
        let cgroup = match self.cgroup.as_ref().map(Cgroup::version) {
            Some(1) => "cgroup v1",
            _ => "cgroup v2",
        };
        let state = |name, value: String, by, strong| LimitState { name, value, by, strong };
        let by = |held: bool, otherwise| if held { cgroup } else { otherwise };
        let limits = &self.limits;
        let counted = "RLIMIT_DATA for each process, and counting by the supervisor";
        let (pids_by, pids_strong) = match (self.held.pids, self.as_root) {
            (true, _) => (cgroup, true),
            (false, false) => ("RLIMIT_NPROC of the user namespace", true),
            (false, true) => ("counting by the supervisor", false),
        };
        let (disk_by, disk_strong) = match self.writable_host {
            true => ("tmpfs size of the private folders; writable host folders have no quota", false),
            false => ("tmpfs size", true),
        };
        let mut states = vec![
            state("memory", limits.memory.value.to_string(), by(self.held.memory, counted), self.held.memory),
            state("pids", limits.pids.value.to_string(), pids_by, pids_strong),
            state("disk", limits.disk.value.to_string(), disk_by, disk_strong),
            state("inodes", limits.inodes.to_string(), disk_by, disk_strong),
            state("open files", limits.open_files.to_string(), "RLIMIT_NOFILE", true),
        ];
        if let Some(cpus) = limits.cpus {
            states.push(state("cpus", format!("{:.2}", f64::from(cpus.0) / 1000.0), by(self.held.cpu, "nothing"), self.held.cpu));
        }
        if let Some(time) = limits.time {
            states.push(state("time", format!("{time:?}"), "the supervisor's clock", true));
        }
        states
    }

    /// True if a cgroup counts the memory of the whole tree.
    pub(super) fn counts_memory(&self) -> bool {
        self.held.memory
    }
}

/// Tasks and anonymous memory of all processes in a procfs.
fn count(proc: BorrowedFd<'_>) -> (u64, u64) {
    let (mut tasks, mut memory) = (0, 0);
    let page = rustix::param::page_size() as u64;
    let Ok(dir) = openat(proc, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return (0, 0) };
    let Ok(entries) = rustix::fs::Dir::new(dir) else { return (0, 0) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy();
        if name == "1" || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // Resident and shared pages (proc(5)): what is shared counts once, with the tmpfs.
        if let Some(text) = read(proc, &format!("{name}/statm")) {
            let field = |index| text.split(' ').nth(index).and_then(|n: &str| n.parse::<u64>().ok()).unwrap_or(0);
            memory += field(1).saturating_sub(field(2)) * page;
        }
        let status = read(proc, &format!("{name}/status")).unwrap_or_default();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse::<u64>().ok());
        tasks += threads.unwrap_or(1);
    }
    (tasks, memory)
}

fn read(folder: BorrowedFd<'_>, path: &str) -> Option<String> {
    let fd = openat(folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 4096];
    let length = rustix::io::read(&fd, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
