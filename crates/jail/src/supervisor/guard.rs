//! Names that must not appear in a workspace while the program runs.
//!
//! A name that doesn't exist can't be mounted on, no Landlock right tells names apart, and a
//! placeholder would litter the host. So the folders are watched, and what appears at a
//! protected name is moved aside to one that nobody acts on. Nothing is deleted: it may have
//! been the person outside who made it. Between the creation and the move there is a short
//! moment, which the threat model names.

use crate::plan::Plan;
use casemate_core::error::{Error, Result};
use casemate_core::limits::Reached;
use casemate_core::report::Refusal;
use casemate_sys::dnotify;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, chmod, fstat, open, openat, renameat_with, statat,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// More than this many creations of protected names are an attack on the supervisor.
const PATIENCE: u32 = 64;
/// Names that are tried for one that is moved aside.
const ATTEMPTS: u32 = 8;

/// Watches the folders of a plan.
pub(super) struct Guard {
    folders: Vec<Folder>,
    moved: Vec<Moved>,
    /// Names that could not be moved.
    stuck: Vec<(PathBuf, Errno)>,
    times: u32,
}

struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    /// Names, or paths that begin in folders that didn't exist.
    names: Vec<String>,
    /// When an entry last came or went, as far as it was looked at.
    seen: (i64, u64),
}

struct Moved {
    path: PathBuf,
    aside: PathBuf,
}

impl Guard {
    /// Starts to watch; nothing runs yet. The watch sends SIGIO; a kernel without it leaves the
    /// supervisor's clock to look a few times a second.
    pub(super) fn watch(plan: &Plan) -> Result<Self> {
        let mut folders = Vec::new();
        for workspace in &plan.workspaces {
            for (folder, names) in workspace
                .watched
                .iter()
                .filter(|(_, names)| !names.is_empty())
            {
                let path = workspace.root.join(folder);
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let fd = open(&path, flags, Mode::empty()).map_err(|errno| {
                    Error::errno("watch for protected names in", errno.raw_os_error())
                        .on(path.display())
                })?;
                let _ = dnotify::watch(fd.as_fd());
                let seen = changed(&fd);
                folders.push(Folder {
                    path,
                    fd,
                    names: names.clone(),
                    seen,
                });
            }
        }
        Ok(Self {
            folders,
            moved: Vec::new(),
            stuck: Vec::new(),
            times: 0,
        })
    }

    /// Looks at the folders that changed; says so if a name appeared too often.
    pub(super) fn sweep(&mut self) -> Option<Reached> {
        self.look(false)
    }

    /// A last look at every name, when nothing runs any more.
    pub(super) fn sweep_all(&mut self) -> Option<Reached> {
        self.look(true)
    }

    fn look(&mut self, everywhere: bool) -> Option<Reached> {
        let mut last = None;
        for folder in &mut self.folders {
            let now = changed(&folder.fd);
            // A coarse clock may give two changes one time; a fresh change is looked at again.
            if now == folder.seen && !is_recent(now) && !everywhere && !folder.is_deep() {
                continue;
            }
            folder.seen = now;
            for name in &folder.names {
                let path = folder.path.join(name);
                let result = folder.move_aside(name);
                // What is known of an earlier look is out of date.
                self.stuck.retain(|(stuck, _)| *stuck != path);
                match result {
                    Ok(None) => continue,
                    Ok(Some(moved)) => self.moved.push(moved),
                    // It stays, so the program doesn't.
                    Err(errno) => {
                        self.stuck.push((path, errno));
                        self.times = PATIENCE + 1;
                    }
                }
                self.times += 1;
                last = Some(name.clone());
            }
        }
        last.filter(|_| self.times > PATIENCE)
            .map(|name| Reached::Protected {
                name,
                times: self.times,
            })
    }

    /// Sentences for the caller.
    pub(super) fn remarks(&self) -> Vec<String> {
        let shown = self.moved.iter().take(8).map(|moved| {
            let name = moved.path.file_name().unwrap_or_default().to_string_lossy();
            // What git acts on is allowed as a whole.
            let is_git = casemate_core::carriers::GIT.contains(&name.as_ref());
            let allow = if is_git { ".git" } else { name.as_ref() };
            format!(
                "{} was created while the program ran; it is now {}, since the host would act on it (--allow-carrier {allow} lets it be)",
                moved.path.display(),
                moved.aside.display(),
            )
        });
        let stuck = self.stuck.iter().take(8).map(|(path, errno)| {
            format!("{} was created while the program ran and could not be moved aside ({errno}): look at it before you work there", path.display())
        });
        shown.chain(stuck).collect()
    }

    /// The moved paths.
    pub(super) fn removed(&self) -> Vec<&Path> {
        self.moved
            .iter()
            .map(|moved| moved.path.as_path())
            .collect()
    }

    /// The same as refusals.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut counts: BTreeMap<&Path, u64> = BTreeMap::new();
        for moved in &self.moved {
            *counts.entry(&moved.path).or_default() += 1;
        }
        let refusal = |(path, count): (&Path, u64)| Refusal {
            kind: "carrier",
            what: path.display().to_string(),
            why: "the host would act on this name".into(),
            count,
        };
        counts.into_iter().map(refusal).collect()
    }
}

impl Folder {
    /// True if a name is in folders that didn't exist: what happens there doesn't show here.
    fn is_deep(&self) -> bool {
        self.names.iter().any(|name| name.contains('/'))
    }

    /// Moves a name aside if it is there; the error is why it could not be.
    fn move_aside(&self, name: &str) -> Result<Option<Moved>, Errno> {
        let (mut path, mut folder, mut name) = (self.path.clone(), None, name);
        while let Some((first, rest)) = name.split_once('/') {
            let at = folder.as_ref().unwrap_or(&self.fd).as_fd();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match permitted(at, || openat(at, first, flags, Mode::empty())) {
                Ok(next) => {
                    folder = Some(next);
                    path.push(first);
                    name = rest;
                }
                // A link would lead to what is elsewhere, so it goes itself.
                Err(Errno::NOTDIR | Errno::LOOP) if is_link(at, first) => name = first,
                // Nor can the program make anything in a folder of somebody else.
                Err(Errno::NOTDIR | Errno::NOENT | Errno::PERM) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
        let at = folder.as_ref().unwrap_or(&self.fd).as_fd();
        move_aside(at, &path, name)
    }
}

fn move_aside(at: BorrowedFd<'_>, path: &Path, name: &str) -> Result<Option<Moved>, Errno> {
    match permitted(at, || statat(at, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(_) => {}
        Err(Errno::ACCESS) => return Err(Errno::ACCESS),
        Err(_) => return Ok(None),
    }
    for number in 0..ATTEMPTS {
        let aside = match number {
            0 => format!("{name}.casemate-refused"),
            _ => format!("{name}.casemate-refused.{}", unforeseen()),
        };
        let rename = || renameat_with(at, name, at, &aside, RenameFlags::NOREPLACE);
        match permitted(at, rename) {
            Ok(()) => {
                return Ok(Some(Moved {
                    path: path.join(name),
                    aside: path.join(aside),
                }));
            }
            Err(Errno::EXIST) => {}
            // It went away by itself.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

fn is_link(at: BorrowedFd<'_>, name: &str) -> bool {
    statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Does something in a folder, also in one from which the program has taken the permission.
fn permitted<T>(
    folder: BorrowedFd<'_>,
    attempt: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match attempt() {
        Err(Errno::ACCESS | Errno::PERM) => {}
        result => return result,
    }
    let mode = Mode::from_raw_mode(fstat(folder)?.st_mode & 0o7777);
    // Not fchmod(2), which doesn't take a descriptor that only names the folder.
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    chmod(&path, mode | Mode::RWXU)?;
    let result = attempt();
    chmod(&path, mode)?;
    result
}

/// A number that the program can't have made names with.
fn unforeseen() -> String {
    let mut bytes = [0; 8];
    // Without the kernel's randomness the clock will do: the program can't foresee that either.
    if getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {
        bytes = rustix::time::clock_gettime(rustix::time::ClockId::Realtime)
            .tv_nsec
            .to_le_bytes();
    }
    format!("{:016x}", u64::from_le_bytes(bytes))
}

/// When the folder last changed. The status time, since a program can set the content time back
/// (utimensat(2)), and that sets this one.
fn changed(folder: &OwnedFd) -> (i64, u64) {
    fstat(folder).map_or((0, 0), |stat| (stat.st_ctime, stat.st_ctime_nsec))
}

/// True within the step of the clock that file times are taken from.
fn is_recent((seconds, nanos): (i64, u64)) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let past = (now.tv_sec - seconds)
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec - nanos as i64);
    past < 20_000_000
}
