//! What a sandbox's own /proc says of its processes (proc(5)).
//!
//! The folder is one of the sandbox's: its numbers are those that processes have inside. Whatever
//! can't be read is a process that is gone.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::io::Read as _;

/// Descriptors of one process that are looked at for memory files.
const MOST_FILES: usize = 16_384;
/// Bytes of a file that are read: a list of 65,536 groups, and the rest.
const MOST_TEXT: u64 = 1 << 20;
/// Microseconds in the clock ticks that times are given in (USER_HZ).
const TICK: u64 = 10_000;

/// The processes, init included.
pub(crate) fn processes(proc: BorrowedFd<'_>) -> Vec<i32> {
    numbers(proc, ".")
}

/// The processes besides init, with the letters of their states.
pub(crate) fn states(proc: BorrowedFd<'_>) -> impl Iterator<Item = (i32, u8)> {
    let others = processes(proc).into_iter().filter(|pid| *pid != 1);
    others.filter_map(move |pid| {
        let stat = stat_of(proc, pid)?;
        Some((pid, *after_name(&stat)?.as_bytes().first()?))
    })
}

/// Microseconds of processor time of these processes and of those that they have reaped.
pub(crate) fn processor_time(proc: BorrowedFd<'_>, pids: &[i32]) -> u64 {
    let of = |pid: &i32| {
        let stat = stat_of(proc, *pid)?;
        // Fields 14 to 17.
        let times = after_name(&stat)?.split_whitespace().skip(11).take(4);
        Some(
            times
                .filter_map(|time| time.parse::<u64>().ok())
                .sum::<u64>(),
        )
    };
    pids.iter().filter_map(of).sum::<u64>() * TICK
}

/// Tasks and memory of all processes, init left out.
///
/// Memory is what is anonymous, and of what is shared the larger of two sums that overlap: the
/// most that one process has mapped, and the memory files (memfd_create(2)) that are open.
pub(crate) fn count(proc: BorrowedFd<'_>) -> (u64, u64) {
    let (mut tasks, mut anonymous, mut mapped) = (0, 0, 0);
    let mut files = BTreeMap::new();
    for pid in processes(proc).into_iter().filter(|pid| *pid != 1) {
        let Some(status) = status_of(proc, pid) else {
            continue;
        };
        tasks += status.threads;
        anonymous += status.anonymous;
        mapped = mapped.max(status.shared);
        memory_files(proc, pid, &mut files);
    }
    (tasks, anonymous + mapped.max(files.values().sum()))
}

/// What one process takes.
pub(crate) struct Size {
    pub(crate) pid: i32,
    pub(crate) threads: u64,
    /// Bytes: of what is shared as in [`count`], of this process alone.
    pub(crate) memory: u64,
}

/// What each process takes, init left out.
pub(crate) fn sizes(proc: BorrowedFd<'_>) -> Vec<Size> {
    let size = |pid| {
        let status = status_of(proc, pid)?;
        let mut files = BTreeMap::new();
        memory_files(proc, pid, &mut files);
        Some(Size {
            pid,
            threads: status.threads,
            memory: status.anonymous + status.shared.max(files.values().sum()),
        })
    };
    let others = processes(proc).into_iter().filter(|pid| *pid != 1);
    others.filter_map(size).collect()
}

/// The folder of one process: also what signals can be sent by (pidfd_send_signal(2)), to this
/// process or to none.
pub(crate) fn folder(proc: BorrowedFd<'_>, pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(proc, pid.to_string(), flags, Mode::empty()).ok()
}

/// Whether the process of a folder has anything left: neither gone nor only waiting to be reaped,
/// as one looks whose first thread has ended, while others go on.
pub(crate) fn lives(folder: BorrowedFd<'_>) -> bool {
    let stat = read(folder, "stat").unwrap_or_default();
    match after_name(&stat).and_then(|rest| rest.bytes().next()) {
        Some(b'Z') => numbers(folder, "task").len() > 1,
        state => state.is_some_and(|state| state != b'X'),
    }
}

fn stat_of(proc: BorrowedFd<'_>, pid: i32) -> Option<String> {
    read(proc, &format!("{pid}/stat"))
}

/// The fields from the third on: the second is a name in parentheses, which may hold some of its
/// own.
fn after_name(stat: &str) -> Option<&str> {
    stat.get(stat.rfind(')')? + 2..)
}

/// What /proc/pid/status says of a process: threads, and resident bytes.
struct Status {
    threads: u64,
    anonymous: u64,
    shared: u64,
}

/// Reads it; a process whose first thread has ended tells its memory by another thread.
fn status_of(proc: BorrowedFd<'_>, pid: i32) -> Option<Status> {
    let text = read(proc, &format!("{pid}/status"))?;
    let threads = field(&text, "Threads:").unwrap_or(1);
    let text = match field(&text, "RssAnon:") {
        Some(_) => text,
        None => numbers(proc, &format!("{pid}/task"))
            .iter()
            .filter_map(|task| read(proc, &format!("{pid}/task/{task}/status")))
            .find(|text| field(text, "RssAnon:").is_some())
            .unwrap_or_default(),
    };
    let bytes = |key| field(&text, key).unwrap_or(0) << 10;
    Some(Status {
        threads,
        anonymous: bytes("RssAnon:"),
        shared: bytes("RssShmem:"),
    })
}

/// The number after a key.
fn field(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Adds the memory files that a process holds open, by inode, with their size on memory.
fn memory_files(proc: BorrowedFd<'_>, pid: i32, files: &mut BTreeMap<u64, u64>) {
    let folder = format!("{pid}/fd");
    for fd in numbers(proc, &folder).into_iter().take(MOST_FILES) {
        let path = format!("{folder}/{fd}");
        let is_memory = rustix::fs::readlinkat(proc, &path, Vec::new())
            .is_ok_and(|target| target.to_bytes().starts_with(b"/memfd:"));
        if is_memory && let Ok(stat) = rustix::fs::statat(proc, &path, AtFlags::empty()) {
            files.insert(stat.st_ino, stat.st_blocks as u64 * 512);
        }
    }
}

/// Entries of a folder that are numbers.
fn numbers(folder: BorrowedFd<'_>, path: &str) -> Vec<i32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened: Option<OwnedFd> = openat(folder, path, flags, Mode::empty()).ok();
    let entries = opened.and_then(|folder| Dir::new(folder).ok());
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .collect()
}

fn read(folder: BorrowedFd<'_>, path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = openat(folder, path, flags, Mode::empty()).ok()?;
    // Root inside can be in very many groups, whose list precedes what is looked for.
    let mut text = Vec::new();
    let mut file = std::fs::File::from(fd).take(MOST_TEXT);
    file.read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{after_name, count, folder, lives, processes, processor_time, sizes, states};
    use rustix::fd::AsFd;

    #[test]
    fn a_name_may_look_like_fields() {
        assert_eq!(after_name("7 (a) R (b)) S 1 2"), Some("S 1 2"));
        assert_eq!(after_name("7 (a"), None);
        assert_eq!(after_name("7 (a)"), None);
    }

    #[test]
    fn this_process_is_among_those_of_this_machine() {
        let proc = std::fs::File::open("/proc").unwrap();
        let own = std::process::id() as i32;
        assert!(processes(proc.as_fd()).contains(&own));
        assert!(
            states(proc.as_fd()).any(|(pid, state)| pid == own && state == b'S' || state == b'R')
        );
        let (tasks, memory) = count(proc.as_fd());
        assert!(tasks > 1 && memory > 0);
        let sizes = sizes(proc.as_fd());
        let own_size = sizes.iter().find(|size| size.pid == own).unwrap();
        assert!(own_size.threads > 0 && own_size.memory > 0);
        assert!(lives(folder(proc.as_fd(), own).unwrap().as_fd()));
        let before = processor_time(proc.as_fd(), &[own]);
        while processor_time(proc.as_fd(), &[own]) < before + 20_000 {}
        assert_eq!(processor_time(proc.as_fd(), &[i32::MAX]), 0);
    }
}
