//! A process, pinned.
//!
//! A process id is a number that is given to another process as soon as its owner is gone. An
//! open folder `/proc/<pid>` is not: it belongs to one process for as long as it is open, and
//! every read through it fails with ESRCH once that has ended. So it is opened once, by the
//! number, and everything else goes through it; what remains is to know that the number was
//! still right at that moment:
//!
//! - a thread that waits in a seccomp notification: the caller asks after the identification
//!   whether the notification is still valid (SECCOMP_IOCTL_NOTIF_ID_VALID, seccomp_unotify(2));
//! - a pidfd: it is asked here whether its process still lives, after the folder was opened;
//! - a parent: its child is asked again who its parent is (`chain`).

use crate::refusal::Refusal;
use casemate_core::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::{Errno, pread, read};
use std::path::Path;
use std::sync::OnceLock;

/// The host's /proc.
pub struct Procfs(OwnedFd);

impl Procfs {
    /// Opens it.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, "/proc", flags, Mode::empty());
        opened.map(Self).map_err(|errno| {
            Error::errno("open /proc", errno.raw_os_error())
                .hint("mount it: programs are told apart by what it says of them")
        })
    }
}

/// One process, or one of its threads.
#[derive(Debug)]
pub struct Process {
    dir: OwnedFd,
    pid: i32,
    /// Read each time that the process is recognised.
    stat: OnceLock<OwnedFd>,
}

/// What `/proc/<pid>/stat` says (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Process id of the parent.
    pub parent: i32,
    /// When it started, in clock ticks since boot. With the id, the name of a process: the ids
    /// can't all be used up within one tick.
    pub start: u64,
    /// Where code, stack, heap, arguments and environment of the program lie. Another execve(2)
    /// puts them elsewhere, by chance (address space layout randomization) or because they have
    /// another length.
    pub image: [u64; 10],
}

impl Process {
    /// Pins the process or thread that has this id now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(procfs: &Procfs, pid: i32) -> Result<Self, Refusal> {
        if pid <= 0 {
            // The kernel's way to say: of another pid namespace.
            return Err(Refusal::Outside);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = Decimal::of(pid);
        match openat(&procfs.0, name.text(), flags, Mode::empty()) {
            Ok(dir) => Ok(Self {
                dir,
                pid,
                stat: OnceLock::new(),
            }),
            Err(errno) => Err(failed(pid, "open the folder in /proc", errno)),
        }
    }

    /// Pins the process that a pidfd (pidfd_open(2)) stands for.
    ///
    /// # Errors
    /// It has ended, or it is in no pid namespace that /proc shows.
    pub fn of_pidfd(procfs: &Procfs, pidfd: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let path = format!("self/fdinfo/{}", pidfd.as_raw_fd());
        let mut text = [0; 1024];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let length = openat(&procfs.0, &*path, flags, Mode::empty())
            .and_then(|file| read(&file, &mut text))
            .map_err(|errno| failed(0, "read what a pidfd stands for", errno))?;
        let pid = field(&text[..length], b"Pid:").filter(|pid| *pid > 0);
        let process = Self::open(procfs, pid.ok_or(Refusal::Gone)?)?;
        // A pidfd turns readable when its process ends, and only then may the id be reused.
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec::default();
        match poll(&mut fds, Some(&now)) {
            Ok(0) => Ok(process),
            _ => Err(Refusal::Gone),
        }
    }

    /// The id that it was opened by.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Reads parent, start and image.
    ///
    /// # Errors
    /// It has ended.
    pub fn status(&self) -> Result<Status, Refusal> {
        let file = match self.stat.get() {
            Some(file) => file,
            None => {
                let file = self.openat("stat", OFlags::RDONLY | OFlags::CLOEXEC)?;
                self.stat.get_or_init(|| file)
            }
        };
        // One line, made anew for whoever reads from its beginning.
        let mut text = [0; 2048];
        let length = pread(file, &mut text, 0);
        let length = length.map_err(|errno| self.failed("read a file in /proc", errno))?;
        Status::parse(&text[..length]).ok_or(Refusal::Gone)
    }

    /// The process that it is a thread of.
    pub(crate) fn leader(&self) -> Result<i32, Refusal> {
        // The line is among the first ones; the name above it is at most 64 bytes, escaped.
        let mut text = [0; 512];
        field(self.read("status", &mut text)?, b"Tgid:").ok_or(Refusal::Gone)
    }

    /// The folder that it works in, as the sandbox names it; `None` if that is gone.
    pub(crate) fn cwd(&self) -> Option<Vec<u8>> {
        let path = self.readlink("cwd").ok()?;
        (path.starts_with(b"/") && !path.ends_with(b" (deleted)")).then_some(path)
    }

    /// Fills the buffer from one of its files as far as that reaches.
    pub(crate) fn read<'b>(&self, name: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Refusal> {
        let file = self.openat(name, OFlags::RDONLY | OFlags::CLOEXEC)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&file, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read a file in /proc", errno)),
            }
        }
        Ok(&buffer[..filled])
    }

    pub(crate) fn openat(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Refusal> {
        let opened = openat(&self.dir, name, flags, Mode::empty());
        opened.map_err(|errno| self.failed(what(name), errno))
    }

    pub(crate) fn readlink(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let target = readlinkat(&self.dir, name, Vec::with_capacity(256));
        let target = target.map_err(|errno| self.failed(what(name), errno))?;
        Ok(target.into_bytes())
    }

    pub(crate) fn stat_of(&self, name: &str) -> Result<rustix::fs::Stat, Refusal> {
        let stat = statat(&self.dir, name, AtFlags::empty());
        stat.map_err(|errno| self.failed(what(name), errno))
    }

    /// True if this path is, where the process looks it up, the file with this stat.
    pub(crate) fn leads_to(&self, path: &[u8], stat: &rustix::fs::Stat) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let inside = Path::new("root").join(Path::new(std::ffi::OsStr::from_bytes(relative)));
        // The last part is not followed; a symbolic link above it may lead outside, where it
        // finds this very file only if the sandbox has it too.
        statat(&self.dir, &inside, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino))
    }

    pub(crate) fn failed(&self, step: &str, errno: Errno) -> Refusal {
        failed(self.pid, step, errno)
    }
}

fn what(name: &str) -> &'static str {
    match name {
        "exe" => "open the executable",
        "cwd" => "read the working folder",
        _ => "open a file in /proc",
    }
}

fn failed(pid: i32, step: &str, errno: Errno) -> Refusal {
    match errno {
        // A zombie has an entry, but no program.
        Errno::SRCH | Errno::NOENT => Refusal::Gone,
        errno => {
            let error = Error::errno(step, errno.raw_os_error()).on(format!("of process {pid}"));
            Refusal::Unreadable(match errno {
                Errno::ACCESS | Errno::PERM => {
                    error.hint("a program is known by its contents: its file has to be readable")
                }
                _ => error,
            })
        }
    }
}

impl Status {
    /// The name in parentheses is the program's to choose, parentheses and spaces included;
    /// nothing after it is.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(text.get(name_end + 2..)?).ok()?;
        let mut status = Self {
            parent: 0,
            start: 0,
            image: [0; 10],
        };
        let mut last = 0;
        // proc_pid_stat(5) counts from one, and the state is its third field.
        for (number, field) in (3..).zip(text.split_ascii_whitespace()) {
            last = number;
            match number {
                4 => status.parent = field.parse().ok()?,
                22 => status.start = field.parse().ok()?,
                26..=28 => status.image[number - 26] = field.parse().ok()?,
                45..=51 => status.image[number - 42] = field.parse().ok()?,
                _ => {}
            }
        }
        (last >= 51).then_some(status)
    }
}

/// A number after a key at the start of a line.
fn field(text: &[u8], key: &[u8]) -> Option<i32> {
    let lines = text.split(|byte| *byte == b'\n');
    let value = lines.into_iter().find_map(|line| line.strip_prefix(key))?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// A number as text, without an allocation.
struct Decimal {
    digits: [u8; 11],
    start: usize,
}

impl Decimal {
    fn of(number: i32) -> Self {
        let mut decimal = Self {
            digits: [b'0'; 11],
            start: 11,
        };
        let mut rest = number.unsigned_abs();
        while rest > 0 || decimal.start == 11 {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        decimal
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_fields() {
        let numbers: Vec<String> = (5..=52).map(|number| number.to_string()).collect();
        let text = format!("7 (a) R 1 2) S 99 {}\n", numbers.join(" "));
        let status = Status::parse(text.as_bytes()).unwrap();
        assert_eq!((status.parent, status.start), (99, 22));
        assert_eq!(status.image, [26, 27, 28, 45, 46, 47, 48, 49, 50, 51]);
    }

    #[test]
    fn texts_that_are_cut() {
        for text in [
            "",
            ")",
            "7 (a",
            "7 (a)",
            "7 (a) S",
            "7 (a) S x",
            "7 (a) S 1 2 3",
        ] {
            assert_eq!(Status::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_as_text() {
        for number in [0, 1, 10, 4_194_304, i32::MAX] {
            assert_eq!(Decimal::of(number).text(), number.to_string().as_bytes());
        }
    }
}
