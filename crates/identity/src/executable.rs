//! The file that a process runs: opened once, and every question is asked of that descriptor.

use crate::digest::Digest;
use crate::process::Process;
use crate::refusal::Refusal;
use crate::shown::Shown;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, readlinkat, statat};
use rustix::io::Errno;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Appended by the kernel to the name of a file that is no longer there (proc_pid_exe(5)).
const GONE: &[u8] = b" (deleted)";

/// An executable that was found to be what it is trusted to be.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Executable {
    /// As processes inside the sandbox name it, byte by byte.
    pub path: Box<[u8]>,
    /// Of the file that runs.
    pub digest: Digest,
    /// Nobody can open it by that name any more: it was unlinked or replaced, or it is a memory
    /// file (memfd_create(2)) and never had one.
    pub deleted: bool,
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = if self.deleted { " (deleted)" } else { "" };
        write!(f, "{}{gone} sha256:{}", Shown(&self.path), self.digest)
    }
}

/// What tells one state of a file from every other on this machine: an inode number is reused
/// and a size and an mtime can be set, but nobody without privilege sets a ctime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the contents: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of contents or attributes.
    pub ctime: (i64, u32),
}

impl Fingerprint {
    /// Of what fstat(2) said.
    pub fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
        }
    }

    /// The form in which it is stored.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [
            self.dev,
            self.ino,
            self.size,
            self.mtime.0 as u64,
            self.ctime.0 as u64,
        ];
        let mut bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        bytes.extend(self.mtime.1.to_le_bytes());
        bytes.extend(self.ctime.1.to_le_bytes());
        bytes
    }
}

/// An executable that is open.
pub(crate) struct Opened {
    pub(crate) file: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) path: Box<[u8]>,
    pub(crate) deleted: bool,
}

/// What a process runs, without opening it: enough to recognise it.
pub(crate) struct Glimpse {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) path: Box<[u8]>,
    pub(crate) deleted: bool,
}

impl Glimpse {
    /// `None` if the file changed meanwhile, or the process executed something else. One that
    /// `waits` can't: then the file is its own as long as that lasts.
    pub(crate) fn of(process: &Process, waits: bool) -> Result<Option<Self>, Refusal> {
        let stat = process.stat_of("exe")?;
        let text = process.readlink("exe")?;
        let fingerprint = Fingerprint::of(&stat);
        // Nothing holds the file here, so its number alone could have passed to another one.
        if !waits && Fingerprint::of(&process.stat_of("exe")?) != fingerprint {
            return Ok(None);
        }
        let (path, deleted) = name(text, &stat, |path| process.leads_to(path, &stat));
        Ok(Some(Self {
            fingerprint,
            path: path.into(),
            deleted,
        }))
    }
}

impl Opened {
    /// What a process runs. Its link is looked at again after its name was read, so that name
    /// and file are of one moment also if the process executes something else meanwhile.
    pub(crate) fn of(process: &Process) -> Result<Self, Refusal> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = process.openat("exe", flags)?;
        let stat = fstat(&file).map_err(|errno| process.failed("look at the executable", errno))?;
        let text = process.readlink("exe")?;
        let after = process.stat_of("exe")?;
        if (after.st_dev, after.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Refusal::Raced(text.into()));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal::Gone);
        }
        let (path, deleted) = name(text, &stat, |path| process.leads_to(path, &stat));
        Ok(Self::new(file, stat, path, deleted))
    }

    /// A file of the host; `None` if it is no regular file.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>, Errno> {
        // Nothing but a regular file may be opened: a device could do something.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = open(path, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let link = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&found));
        let file = open(&*link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&file)?;
        let text = readlinkat(rustix::fs::CWD, &*link, Vec::new())?.into_bytes();
        let (path, deleted) = name(text, &stat, |path| {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            statat(rustix::fs::CWD, path, AtFlags::empty())
                .is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
        });
        Ok(Some(Self::new(file, stat, path, deleted)))
    }

    fn new(file: OwnedFd, stat: Stat, path: Vec<u8>, deleted: bool) -> Self {
        Self {
            file,
            fingerprint: Fingerprint::of(&stat),
            stat,
            path: path.into(),
            deleted,
        }
    }

    /// True if the file is as it was when it was opened, or last refreshed.
    pub(crate) fn is_unchanged(&self) -> Result<bool, Errno> {
        Ok(Fingerprint::of(&fstat(&self.file)?) == self.fingerprint)
    }

    /// Takes the file as it is now.
    pub(crate) fn refresh(&mut self) -> Result<(), Errno> {
        self.stat = fstat(&self.file)?;
        self.fingerprint = Fingerprint::of(&self.stat);
        Ok(())
    }

    /// True for a memory file (memfd_create(2)): what it is called is up to who made it, and any
    /// number of them share a name.
    pub(crate) fn is_memory(&self) -> bool {
        self.deleted && self.path.starts_with(b"/memfd:")
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The name of a file from what the kernel says of it, and whether it is gone.
///
/// The mark of a file that is gone is also a possible end of a name. A file without links has
/// none; one with links may have lost this name and kept another, or really be called that way,
/// which `leads_to` tells by looking.
fn name(mut text: Vec<u8>, stat: &Stat, leads_to: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
    let marked = text.ends_with(GONE);
    let deleted = stat.st_nlink == 0 || (marked && !leads_to(&text));
    if deleted && marked {
        text.truncate(text.len() - GONE.len());
    }
    (text, deleted)
}
