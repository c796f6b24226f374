//! Limits: who holds each one, and whether one was reached.
//!
//! The kernel holds what it can for the whole tree: a cgroup memory, tasks and CPU, a tmpfs its
//! size and inodes, RLIMIT_NPROC the tasks of a user namespace. What it can't hold, the
//! supervisor counts a few times a second, which a burst can outrun; the report says which of
//! the two it was.
//!
//! A limit that is reached ends a run. A sandbox that stays is many programs', one after the other,
//! so there it costs the program that reached it: the kernel kills or refuses that one, and where the
//! supervisor counts, [it does](super::casualties). One that sleeps is looked at [less
//! often](super::pace).

use super::casualties::{Casualties, PATIENCE};
use super::late::{self, LateCgroup};
use super::pace::{self, Pace};
use super::processors::Processors;
use crate::plan::Plan;
use crate::proc;
use crate::wire::Exit;
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, Limits, Reached};
use casemate_core::report::LimitState;
use casemate_core::sandbox::Usage;
use casemate_sys::cgroup::{self, Cgroup, Events, Held, Wanted};
use casemate_sys::freezer::Freezer;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The kernel keeps a few inodes back when it says that there are none.
const LAST_INODES: u64 = 2;
/// How often counters are looked at where the kernel holds the memory; and of a sandbox that stays,
/// in which whoever asks for something hears of the limit by himself.
const TICK: Duration = Duration::from_millis(100);
const RARE_TICK: Duration = Duration::from_secs(1);

/// A count that takes longer than this is made on a thread of its own: how many processes and
/// descriptors there are is up to the program, and a connect(2) must not wait for them.
const BRIEF: Duration = Duration::from_millis(1);
const STACK: usize = 128 << 10;

/// The limits of a run that is under way.
pub(super) struct Watch {
    limits: Limits,
    cgroup: Option<Cgroup>,
    late: Late,
    /// No process is outside of the cgroup, if there is one.
    is_whole: bool,
    held: Held,
    as_root: bool,
    writable_host: bool,
    /// The sandbox's /proc and private disk.
    proc: Option<OwnedFd>,
    disk: Option<OwnedFd>,
    last: Instant,
    /// If it stays.
    staying: Option<Staying>,
    /// The processors that it is kept on.
    processors: Option<Processors>,
    /// The largest sum that was counted.
    counted_peak: u64,
    /// What init counted in System V segments, bytes.
    segments: u64,
    /// A count that is under way on a thread of its own.
    counting: Option<JoinHandle<Count>>,
    /// The last one took its time.
    slow: bool,
}

/// What is different for a sandbox that stays.
struct Staying {
    /// How often it is counted.
    pace: Pace,
    casualties: Casualties,
    /// Since when every count found more memory than the limit.
    over: Option<Instant>,
}

/// Tasks, memory in bytes, and how long it took.
type Count = (u64, u64, Duration);

/// A cgroup that is entered after the start.
enum Late {
    Never,
    Waiting(Wanted),
    Moving(LateCgroup),
}

impl Watch {
    /// Makes the cgroup if there can be one, and refuses a limit that was asked for and can't
    /// be held.
    pub(super) fn prepare(plan: &Plan, stays: bool) -> Result<Self> {
        let spec = &plan.spec;
        let limits = spec.limits.clone();
        let version = cgroup::version();
        // A choice of processors is free; to enter a group of version 1 takes 10 ms.
        let is_choice = stays && version == Some(1) && Processors::fit(&limits);
        let wanted = Wanted {
            memory: limits.memory.value.0,
            // Init counts as one.
            pids: limits.pids.value.saturating_add(1),
            milli_cpus: limits.cpus.filter(|_| !is_choice).map(|cpus| cpus.0),
            ends_together: !stays,
        };
        let asked = limits.memory.asked || limits.pids.asked || wanted.milli_cpus.is_some();
        let is_late = version == Some(1) && !asked;
        let cgroup = match is_late {
            true => None,
            false => Cgroup::create(&wanted).map_err(|errno| {
                Error::errno("make a cgroup", errno.raw_os_error())
                    .hint("`casemate doctor` says which controllers this user has")
            })?,
        };
        let held = cgroup.as_ref().map(Cgroup::held).unwrap_or_default();
        let as_root = plan.host.uid == 0;
        let late = if is_late && as_root {
            Late::Waiting(wanted)
        } else {
            Late::Never
        };
        let allowed = |layer| spec.allow_missing.contains(&layer);
        const DELEGATE: &str = "run it in a delegated cgroup, as `systemd-run --user --scope -p Delegate=yes casemate …` does";
        let processors = match held.cpu {
            true => None,
            false => Processors::choose(&limits),
        };
        let is_free = limits.cpus.is_some() && !held.cpu && processors.is_none();
        if is_free && !allowed(Layer::CpuLimit) {
            return Err(Error::rule(
                "limit --cpus",
                "this user has no cgroup with the cpu controller",
            )
            .hint(format!(
                "{DELEGATE}; whole processors need none; --allow-missing cpu-limit accepts running without it"
            )));
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
        Ok(Self {
            limits,
            cgroup,
            late,
            is_whole: true,
            held,
            as_root,
            writable_host,
            proc: None,
            disk: None,
            last: Instant::now(),
            staying: stays.then(|| Staying {
                pace: Pace::new(),
                casualties: Casualties::default(),
                over: None,
            }),
            processors,
            counted_peak: 0,
            segments: 0,
            counting: None,
            slow: false,
        })
    }

    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    pub(super) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().and_then(Cgroup::clone_into)
    }

    /// What stops the whole tree at once, if a cgroup can.
    pub(super) fn freezer(&self) -> Option<Freezer> {
        self.cgroup.as_ref().and_then(Cgroup::freezer)
    }

    /// Takes what is needed to count.
    pub(super) fn see(&mut self, proc: Option<OwnedFd>, disk: Option<OwnedFd>) {
        self.proc = proc;
        self.disk = disk;
    }

    /// Starts, or takes, the cgroup that is entered late.
    pub(super) fn enter_late(&mut self, started: Instant, init: i32) {
        match std::mem::replace(&mut self.late, Late::Never) {
            Late::Waiting(wanted) if self.disk.is_some() && started.elapsed() >= late::AFTER => {
                // Without a thread, the counters go on.
                self.late = LateCgroup::start(wanted, init).map_or(Late::Never, Late::Moving);
            }
            Late::Moving(moving) if moving.is_done() => {
                // The report says what the kernel held from the first instruction: nothing. So the
                // counting goes on, and if a process stayed outside, as often as before.
                if let Some(entered) = moving.finish() {
                    self.is_whole = entered.is_whole;
                    self.cgroup = Some(entered.cgroup);
                }
            }
            other => self.late = other,
        }
    }

    /// Waits for the thread that moves the tree: it holds the cgroup's folders, which must not
    /// stay behind.
    pub(super) fn leave_late(&mut self) {
        if let Late::Moving(moving) = std::mem::replace(&mut self.late, Late::Never) {
            drop(moving.finish());
        }
    }

    /// How long until something has to be looked at.
    pub(super) fn next_check(&self, started: Instant) -> Option<Duration> {
        let tick = self
            .disk
            .is_some()
            .then(|| self.tick().saturating_sub(self.last.elapsed()));
        let time = self
            .limits
            .time
            .map(|time| time.saturating_sub(started.elapsed()));
        [tick, time].into_iter().flatten().min()
    }

    fn tick(&self) -> Duration {
        let by_kernel = self.held.memory || self.cgroup.is_some() && self.is_whole;
        match &self.staying {
            Some(_) if self.is_held() => RARE_TICK,
            Some(staying) => staying.pace.tick(),
            None if by_kernel => TICK,
            None => pace::FAST,
        }
    }

    /// True if the kernel holds memory and tasks of a whole tree. Of one that stays also by a group
    /// that it entered late: little more than the agent was there before.
    fn is_held(&self) -> bool {
        let late = match (&self.cgroup, &self.staying) {
            (Some(cgroup), Some(_)) if self.is_whole => cgroup.held(),
            _ => Held::default(),
        };
        let held = self.held;
        (held.memory || late.memory) && (held.pids || late.pids)
    }

    /// Something was asked of a sandbox that stays, or it tries something.
    pub(super) fn wake(&mut self) {
        if let Some(staying) = &mut self.staying {
            staying.pace.wake();
        }
    }

    /// Which processors it is kept on, if that is how it is limited.
    pub(super) fn processors(&self) -> Option<&Processors> {
        self.processors.as_ref()
    }

    /// True if init has to count what no limit holds.
    pub(super) fn wants_segments(&self) -> bool {
        let rests = self
            .staying
            .as_ref()
            .is_some_and(|staying| staying.pace.tick() > pace::FAST);
        !self.held.memory && !self.is_held() && !rests && self.is_due()
    }

    /// Takes init's count.
    pub(super) fn see_segments(&mut self, bytes: u64) {
        self.segments = bytes;
    }

    /// True if counters are to be looked at now.
    pub(super) fn is_due(&self) -> bool {
        self.disk.is_some() && self.last.elapsed() >= self.tick()
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
        if self.staying.is_some() {
            return self.reached_in_spite_of_all();
        }
        self.reached_by_events(&self.events())
            .or_else(|| self.reached_on_disk(0))
            .or_else(|| self.reached_by_count().map(|(reached, _)| reached))
    }

    /// The limit that was reached in a sandbox that stays, and that nobody's end is enough for.
    fn reached_in_spite_of_all(&mut self) -> Option<Reached> {
        let (reached, excess) = self.reached_by_count()?;
        let (Some(staying), Some(proc)) = (&mut self.staying, &self.proc) else {
            return Some(reached);
        };
        // What the ends of some should have given back isn't: nothing but everybody's end will.
        let is_hopeless = staying
            .over
            .is_some_and(|since| since.elapsed() >= PATIENCE);
        let relieved = staying.casualties.relieve(proc.as_fd(), &reached, excess);
        (is_hopeless || !relieved).then_some(reached)
    }

    /// The same after the end, for a program that was faster than the clock.
    pub(super) fn reached_at_end(&self, events: &Events, exit: Option<&Exit>) -> Option<Reached> {
        let failed = exit.is_none_or(|exit| exit.status != 0);
        if self.staying.is_some() {
            // What others had reached is long over; but it may have cost the agent itself its life.
            let by_memory = Some(events).filter(|events| failed && events.oom_kills > 0);
            return by_memory.and_then(|events| self.reached_by_events(events));
        }
        // The program itself was one more.
        let left = exit.map_or(0, |exit| exit.left + 1);
        let full = !self.held.pids && left > u64::from(self.limits.pids.value);
        let too_many = full.then_some(Reached::Pids {
            max: self.limits.pids.value,
        });
        // The end itself frees a little, so for a program that failed, almost full is full.
        let spare = if failed { 8 } else { 0 };
        self.reached_by_events(events)
            .or(too_many)
            .or_else(|| self.reached_on_disk(spare))
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
            return Some(Reached::Memory {
                max: self.limits.memory.value,
                peak,
            });
        }
        (events.forks_refused > 0).then_some(Reached::Pids {
            max: self.limits.pids.value,
        })
    }

    fn reached_on_disk(&self, spare: u64) -> Option<Reached> {
        let stat = rustix::fs::fstatvfs(self.disk.as_ref()?).ok()?;
        if stat.f_bfree <= spare {
            return Some(Reached::Disk {
                max: self.limits.disk.value,
            });
        }
        (stat.f_ffree <= spare.max(LAST_INODES)).then_some(Reached::Inodes {
            max: self.limits.inodes,
        })
    }

    /// Counts tasks and memory where no cgroup does. By how much it is more than the limit, too.
    fn reached_by_count(&mut self) -> Option<(Reached, u64)> {
        if self.is_held() {
            return None;
        }
        if let (Some(staying), Some(proc)) = (&mut self.staying, &self.proc)
            && !staying.pace.look(proc.as_fd())
        {
            return None;
        }
        let (tasks, memory, took) = self.counted()?;
        self.slow = took > BRIEF;
        let memory = memory + self.on_disk() + self.segments;
        self.counted_peak = self.counted_peak.max(memory);
        let limits = &self.limits;
        let (memory_max, pids_max) = (limits.memory.value.0, u64::from(limits.pids.value));
        let is_over = !self.held.memory && memory > memory_max;
        if let Some(staying) = &mut self.staying {
            staying.casualties.forget_gone();
            staying.over = is_over.then(|| staying.over.unwrap_or_else(Instant::now));
        }
        if is_over {
            let reached = Reached::Memory {
                max: limits.memory.value,
                peak: ByteSize(memory),
            };
            return Some((reached, memory - memory_max));
        }
        let reached = Reached::Pids {
            max: limits.pids.value,
        };
        let full = !self.held.pids && tasks > pids_max;
        full.then(|| (reached, tasks - pids_max))
    }

    /// The next count, unless it is still under way.
    fn counted(&mut self) -> Option<Count> {
        if let Some(counting) = self.counting.take() {
            if counting.is_finished() {
                return counting.join().ok();
            }
            self.counting = Some(counting);
            return None;
        }
        let proc = self.proc.as_ref()?;
        if self.slow
            && let Ok(proc) = proc.try_clone()
        {
            let thread = std::thread::Builder::new()
                .name("count".to_owned())
                .stack_size(STACK);
            self.counting = thread.spawn(move || timed_count(proc.as_fd())).ok();
            if self.counting.is_some() {
                return None;
            }
        }
        Some(timed_count(proc.as_fd()))
    }

    /// Who holds what, for the report.
    pub(super) fn states(&self) -> Vec<LimitState> {
        let cgroup = match self.cgroup.as_ref().map(Cgroup::version) {
            Some(1) => "cgroup v1",
            _ => "cgroup v2",
        };
        let state = |name, value: String, by, strong| LimitState {
            name,
            value,
            by,
            strong,
        };
        let late = self.cgroup.is_some() && self.held == Held::default();
        let by = |held: bool, otherwise| match (held, late) {
            (true, _) => cgroup,
            (false, true) => "cgroup v1, entered after the start, and counting by the supervisor",
            (false, false) => otherwise,
        };
        let limits = &self.limits;
        let counted = "RLIMIT_DATA for each process, and counting by the supervisor";
        let (pids_by, pids_strong) = match (self.held.pids, self.as_root) {
            (true, _) => (cgroup, true),
            (false, true) if late => (by(false, ""), false),
            (false, false) => ("RLIMIT_NPROC of the user namespace", true),
            (false, true) => ("counting by the supervisor", false),
        };
        let (disk_by, disk_strong) = match self.writable_host {
            true => (
                "tmpfs size of the private folders; writable host folders have no quota",
                false,
            ),
            false => ("tmpfs size", true),
        };
        let mut states = vec![
            state(
                "memory",
                limits.memory.value.to_string(),
                by(self.held.memory, counted),
                self.held.memory,
            ),
            state("pids", limits.pids.value.to_string(), pids_by, pids_strong),
            state("disk", limits.disk.value.to_string(), disk_by, disk_strong),
            state("inodes", limits.inodes.to_string(), disk_by, disk_strong),
            state(
                "open files",
                limits.open_files.to_string(),
                "RLIMIT_NOFILE",
                true,
            ),
        ];
        if let Some(cpus) = limits.cpus {
            states.push(state(
                "cpus",
                format!("{:.2}", f64::from(cpus.0) / 1000.0),
                match &self.processors {
                    Some(processors) => processors.by(),
                    None => by(self.held.cpu, "nothing"),
                },
                self.held.cpu || self.processors.is_some(),
            ));
        }
        if let Some(time) = limits.time {
            states.push(state(
                "time",
                format!("{time:?}"),
                "the supervisor's clock",
                true,
            ));
        }
        states
    }

    /// The sandbox's /proc, once it is there.
    pub(super) fn proc(&self) -> Option<OwnedFd> {
        self.proc.as_ref()?.try_clone().ok()
    }

    /// What the sandbox uses now.
    pub(super) fn usage(&self) -> Usage {
        let Some(proc) = self.proc.as_ref().map(AsFd::as_fd) else {
            return Usage::default();
        };
        let (pids, memory) = proc::count(proc);
        let disk = self.on_disk();
        Usage {
            cpu_usec: proc::processor_time(proc, &proc::processes(proc)),
            memory: memory + disk + self.segments,
            // The private disk is of memory: its pages are the page cache that is the sandbox's own.
            cache: disk,
            disk,
            pids,
            killed: self.killed(),
        }
    }

    /// Processes that were killed for memory, by whoever holds that limit.
    fn killed(&self) -> u64 {
        let staying = self.staying.as_ref();
        let counted = staying.map_or(0, |staying| staying.casualties.killed());
        let events = self.cgroup.as_ref().map(Cgroup::events);
        counted + events.map_or(0, |events| events.oom_kills)
    }

    /// Bytes on the private disk.
    fn on_disk(&self) -> u64 {
        let stat = self.disk.as_ref().map(rustix::fs::fstatvfs);
        stat.and_then(Result::ok)
            .map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }

    /// True if a cgroup counts the memory of the whole tree.
    pub(super) fn counts_memory(&self) -> bool {
        self.held.memory
    }
}

fn timed_count(proc: BorrowedFd<'_>) -> Count {
    let since = Instant::now();
    let (tasks, memory) = proc::count(proc);
    (tasks, memory, since.elapsed())
}
