//! Limits for a whole tree of processes (cgroups(7)), version 2 or 1.
//!
//! A cgroup is a folder that must not outlive its sandbox. Its supervisor holds a lock on it
//! (flock(2)), which ends with the supervisor however it dies; [`sweep`] removes folders that
//! nobody holds any more.
//!
//! Version 2 needs a folder that this user may write and that hands the controllers down; a
//! login session of systemd has none, `systemd-run --user --scope -p Delegate=yes` makes one.
//! Version 1 needs root.

use crate::Errno;
use crate::freezer::Freezer;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, mkdirat, open, openat, unlinkat};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MOUNT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "casemate-";
/// How often, and after how long, it is tried again to remove what a killed supervisor left.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// What a cgroup is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Memory, bytes.
    pub memory: u64,
    /// Tasks.
    pub pids: u32,
    /// CPU bandwidth in thousandths of a CPU.
    pub milli_cpus: Option<u32>,
    /// When memory runs out, all processes are killed and not only one. Version 1 has no such
    /// choice: there, it is one.
    pub ends_together: bool,
}

/// What a cgroup of this machine could be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// The memory of the tree is limited by the kernel.
    pub memory: bool,
    /// So is its number of tasks.
    pub pids: bool,
    /// So is its CPU bandwidth.
    pub cpu: bool,
}

/// What happened in a cgroup so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Events {
    /// The peak of memory, bytes.
    pub peak_memory: u64,
    /// Processes that the kernel killed for memory.
    pub oom_kills: u64,
    /// Forks that were refused for the task limit.
    pub forks_refused: u64,
}

/// A cgroup, in one folder (version 2) or in one a controller (version 1). Dropping it removes
/// the folders, which must be empty of processes by then.
pub struct Cgroup {
    version: u8,
    folders: Vec<Folder>,
    held: Held,
}

struct Folder {
    controller: Controller,
    parent: OwnedFd,
    name: String,
    fd: OwnedFd,
    /// Its `cgroup.procs`, opened by the supervisor: the kernel asks who opened it, not who
    /// writes.
    procs: OwnedFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    All,
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

impl Cgroup {
    /// Makes a cgroup with as much of what is wanted as this machine lets this user have;
    /// `None` if that is nothing.
    pub fn create(wanted: &Wanted) -> Result<Option<Self>, Errno> {
        let name = next_name();
        let cgroup = match version() {
            Some(2) => Self::create_v2(wanted, &name)?,
            Some(1) if rustix::process::geteuid().is_root() => Self::create_v1(wanted, &name)?,
            _ => None,
        };
        Ok(cgroup.filter(|cgroup| cgroup.held != Held::default()))
    }

    fn create_v2(wanted: &Wanted, name: &str) -> Result<Option<Self>, Errno> {
        for base in bases_v2() {
            let Ok(parent) = open_folder(&base) else {
                continue;
            };
            let controllers = read(parent.as_fd(), "cgroup.subtree_control").unwrap_or_default();
            let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
            let held = Held {
                memory: has("memory"),
                pids: has("pids"),
                cpu: has("cpu") && wanted.milli_cpus.is_some(),
            };
            if held == Held::default() {
                continue;
            }
            let Some(folder) = Folder::create(Controller::All, parent, name)? else {
                continue;
            };
            let cgroup = Self {
                version: 2,
                folders: vec![folder],
                held,
            };
            let fd = cgroup.folders[0].fd.as_fd();
            if held.memory {
                write(fd, "memory.max", &wanted.memory.to_string())?;
                // Swap would hide the limit; a kernel without swap accounting has no such file.
                let _ = write(fd, "memory.swap.max", "0");
                let together = if wanted.ends_together { "1" } else { "0" };
                write(fd, "memory.oom.group", together)?;
            }
            if held.pids {
                write(fd, "pids.max", &wanted.pids.to_string())?;
            }
            if let (true, Some(milli)) = (held.cpu, wanted.milli_cpus) {
                write(fd, "cpu.max", &format!("{} 100000", u64::from(milli) * 100))?;
            }
            return Ok(Some(cgroup));
        }
        Ok(None)
    }

    fn create_v1(wanted: &Wanted, name: &str) -> Result<Option<Self>, Errno> {
        let mut cgroup = Self {
            version: 1,
            folders: Vec::new(),
            held: Held::default(),
        };
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut controllers = vec![Controller::Memory, Controller::Pids];
        if wanted.milli_cpus.is_some() {
            controllers.push(Controller::Cpu);
        }
        for controller in controllers {
            let Some(base) = base_v1(&own, controller.name()) else {
                continue;
            };
            let Ok(parent) = open_folder(&base) else {
                continue;
            };
            let Some(folder) = Folder::create(controller, parent, name)? else {
                continue;
            };
            let fd = folder.fd.as_fd();
            match controller {
                Controller::Memory => {
                    write(fd, "memory.limit_in_bytes", &wanted.memory.to_string())?;
                    // Only with swap accounting; without it there is no such file.
                    let _ = write(
                        fd,
                        "memory.memsw.limit_in_bytes",
                        &wanted.memory.to_string(),
                    );
                    cgroup.held.memory = true;
                }
                Controller::Pids => {
                    write(fd, "pids.max", &wanted.pids.to_string())?;
                    cgroup.held.pids = true;
                }
                Controller::Cpu => {
                    let quota = u64::from(wanted.milli_cpus.unwrap_or(1000)) * 100;
                    write(fd, "cpu.cfs_period_us", "100000")?;
                    write(fd, "cpu.cfs_quota_us", &quota.to_string())?;
                    cgroup.held.cpu = true;
                }
                Controller::All => {}
            }
            cgroup.folders.push(folder);
        }
        Ok(Some(cgroup))
    }

    /// What the kernel holds by this cgroup.
    pub fn held(&self) -> Held {
        self.held
    }

    /// 1 or 2.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The folder that clone3(2) can make a process in; only version 2 has one.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        (self.version == 2).then(|| self.folders[0].fd.as_fd())
    }

    /// What stops everything in it; only version 2 has that in the same folder.
    pub fn freezer(&self) -> Option<Freezer> {
        let folder = self.clone_into()?.try_clone_to_owned();
        folder.ok().map(Freezer::of)
    }

    /// Moves the calling process in; only needed for version 1, and done by the process itself
    /// through descriptors that its parent opened.
    pub fn enter(&self) -> Result<(), Errno> {
        if self.version == 2 {
            return Ok(());
        }
        self.folders
            .iter()
            .try_for_each(|folder| rustix::io::write(&folder.procs, b"0").map(drop))
    }

    /// Moves another process in.
    pub fn add(&self, pid: i32) -> Result<(), Errno> {
        self.folders.iter().try_for_each(|folder| {
            rustix::io::write(&folder.procs, pid.to_string().as_bytes()).map(drop)
        })
    }

    /// Reads the counters.
    pub fn events(&self) -> Events {
        let mut events = Events::default();
        for folder in &self.folders {
            let fd = folder.fd.as_fd();
            let number = |name| read(fd, name).and_then(|text| text.trim().parse().ok());
            let field = |file, key| read(fd, file).and_then(|text| field(&text, key));
            if matches!(folder.controller, Controller::All) && self.held.memory {
                let peak = number("memory.peak").or_else(|| number("memory.current"));
                events.peak_memory = peak.unwrap_or(0);
                events.oom_kills = field("memory.events", "oom_kill").unwrap_or(0);
            }
            if matches!(folder.controller, Controller::Memory) {
                events.peak_memory = number("memory.max_usage_in_bytes").unwrap_or(0);
                events.oom_kills = field("memory.oom_control", "oom_kill").unwrap_or(0);
            }
            if matches!(folder.controller, Controller::All | Controller::Pids) && self.held.pids {
                events.forks_refused = field("pids.events", "max").unwrap_or(0);
            }
        }
        events
    }
}

/// What this process's next cgroup is called: `casemate-PID`, and then `casemate-PID-1` and so on.
fn next_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id();
    match MADE.fetch_add(1, Ordering::Relaxed) {
        0 => format!("{PREFIX}{own}"),
        number => format!("{PREFIX}{own}-{number}"),
    }
}

impl Folder {
    /// Makes and locks a folder; `None` if this user may not.
    fn create(controller: Controller, parent: OwnedFd, name: &str) -> Result<Option<Self>, Errno> {
        // A sweep of another run may take the folder between its making and its lock.
        for _ in 0..1000 {
            match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => return Ok(None),
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(fd) = openat(&parent, name, flags, Mode::empty()) else {
                continue;
            };
            // A sweep holds the lock for the moment that it takes to remove the folder.
            if flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
                std::thread::yield_now();
                continue;
            }
            if rustix::fs::statat(&parent, name, AtFlags::empty()).is_ok() {
                let procs = openat(
                    &fd,
                    "cgroup.procs",
                    OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                return Ok(Some(Self {
                    controller,
                    parent,
                    name: name.to_owned(),
                    fd,
                    procs,
                }));
            }
        }
        Err(Errno::AGAIN)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Removes the cgroups that killed supervisors left behind.
pub fn sweep() {
    let bases: Vec<PathBuf> = match version() {
        Some(2) => bases_v2(),
        Some(1) if rustix::process::geteuid().is_root() => {
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            ["memory", "pids", "cpu"]
                .into_iter()
                .filter_map(|c| base_v1(&own, c))
                .collect()
        }
        _ => return,
    };
    for base in bases {
        let Ok(entries) = std::fs::read_dir(&base) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes())
            {
                remove_if_unheld(&entry.path());
            }
        }
    }
}

fn remove_if_unheld(path: &Path) {
    let Ok(fd) = open_folder(path) else { return };
    // Never a lock that is waited for: whose it is may be a process that can't be seen from here.
    let mut locked = flock(&fd, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..PATIENCE {
        // A killed one holds the lock until the kernel is done with it, which is soon.
        if locked.is_ok() || !is_owner_dying(path) {
            break;
        }
        std::thread::sleep(PAUSE);
        locked = flock(&fd, FlockOperation::NonBlockingLockExclusive);
    }
    if locked.is_err() {
        return;
    }
    // Nobody's: its processes are gone, or just being killed with their init.
    for _ in 0..PATIENCE {
        match std::fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// True if the supervisor that a folder is named after can be seen, and has a SIGKILL on its way or
/// has just ended (proc(5), /proc/pid/status).
fn is_owner_dying(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let pid = name
        .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next())
        .and_then(|pid| pid.parse::<u32>().ok());
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let Some(status) = status else { return false };
    let value = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    let killed = ["SigPnd:", "ShdPnd:"].iter().any(|key| {
        let pending = value(key).and_then(|bits| u64::from_str_radix(bits, 16).ok());
        pending.is_some_and(|bits| bits & 1 << (libc::SIGKILL - 1) != 0)
    });
    killed || value("State:").is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// 2 if that is what is mounted, 1 for version 1 and for the mix of both.
pub fn version() -> Option<u8> {
    const CGROUP2: u64 = 0x6367_7270;
    const TMPFS: u64 = 0x0102_1994;
    let stat = rustix::fs::statfs(MOUNT).ok()?;
    match stat.f_type as u64 {
        CGROUP2 => Some(2),
        TMPFS => Some(1),
        _ => None,
    }
}

/// Folders that may take a child: this process's own cgroup, which works if it is the root,
/// then the one above, of which the own one is a leaf.
fn bases_v2() -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    let own = Path::new(MOUNT).join(path.trim_start_matches('/'));
    let parent = own
        .parent()
        .filter(|parent| parent.starts_with(MOUNT))
        .map(Path::to_path_buf);
    [Some(own), parent].into_iter().flatten().collect()
}

fn base_v1(own: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|c| c == controller)
            .then_some(path)
    })?;
    Some(
        Path::new(MOUNT)
            .join(controller)
            .join(path.trim_start_matches('/')),
    )
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn write(folder: BorrowedFd<'_>, file: &str, text: &str) -> Result<(), Errno> {
    let fd = openat(
        folder,
        file,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&fd, text.as_bytes())?;
    Ok(())
}

fn read(folder: BorrowedFd<'_>, file: &str) -> Option<String> {
    let fd = openat(
        folder,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut buffer = [0; 2048];
    let length = rustix::io::read(&fd, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroup_of_version_1() {
        let own = "5:pids:/a\n3:cpu,cpuacct:/b/c\n0::/\n";
        assert_eq!(base_v1(own, "cpu"), Some("/sys/fs/cgroup/cpu/b/c".into()));
        assert_eq!(base_v1(own, "memory"), None);
    }

    /// As of a supervisor in another pid namespace: the lock is held, and nobody with its id is
    /// here.
    #[test]
    fn what_somebody_unknown_holds_is_left_at_once() {
        let folder = std::env::temp_dir().join(format!("{PREFIX}{}", u32::MAX));
        let _ = std::fs::create_dir(&folder);
        let held = open_folder(&folder).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(!is_owner_dying(&folder));
        remove_if_unheld(&folder);
        assert!(folder.is_dir());
        drop(held);
        remove_if_unheld(&folder);
        assert!(!folder.is_dir());
    }

    #[test]
    fn counters() {
        assert_eq!(field("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
    }
}
