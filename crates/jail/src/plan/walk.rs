//! One walk over a writable folder: carriers, git folders, files with several names, and, for a
//! report, every file.

use super::workspace::{Names, Stamp};
use casemate_core::carriers;
use casemate_core::error::{Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Files that are remembered for a report; a program may make more than memory holds.
const MOST_STAMPS: usize = 1_000_000;

#[derive(Default)]
pub(super) struct Found {
    pub(super) carriers: BTreeSet<PathBuf>,
    pub(super) repositories: BTreeSet<PathBuf>,
    /// Folders that must not be moved away, though they may be written.
    pub(super) pinned: BTreeSet<PathBuf>,
    pub(super) links: Links,
}

/// Names of files that have several.
#[derive(Default)]
pub(super) struct Links(HashMap<(u64, u64), (u64, Vec<PathBuf>)>);

impl Links {
    fn see(&mut self, path: &Path, stat: &Stat) {
        let entry = self
            .0
            .entry((stat.st_dev, stat.st_ino))
            .or_insert((stat.st_nlink, Vec::new()));
        entry.1.push(path.into());
    }

    /// Files with more names than were seen.
    pub(super) fn leading_outside(self) -> BTreeSet<PathBuf> {
        self.0
            .into_values()
            .filter(|(count, seen)| *count > seen.len() as u64)
            .flat_map(|(_, seen)| seen)
            .collect()
    }
}

pub(super) struct Walk<'a> {
    pub(super) names: &'a Names,
    pub(super) found: Found,
    pub(super) stamps: Option<BTreeMap<PathBuf, Stamp>>,
}

/// A folder still to be read, relative to the root.
struct Pending {
    path: PathBuf,
    in_packages: bool,
}

impl Walk<'_> {
    pub(super) fn folder(&mut self, root: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|errno| Error::errno("read", errno.raw_os_error()).on(root.display()))?;
        let mut pending = vec![Pending {
            path: PathBuf::new(),
            in_packages: false,
        }];
        while let Some(next) = pending.pop() {
            let fd = match next.path.as_os_str().is_empty() {
                true => rustix::io::dup(&base),
                false => openat(&base, &next.path, flags | OFlags::NOFOLLOW, Mode::empty()),
            };
            match fd {
                Ok(fd) => self.entries(&fd, &next, &mut pending),
                // The caller's own folder, which the program could make readable again.
                Err(Errno::ACCESS) => {
                    self.found.carriers.insert(next.path);
                }
                // What vanished is gone.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn entries(&mut self, folder: &OwnedFd, here: &Pending, pending: &mut Vec<Pending>) {
        let Ok(dir) = Dir::read_from(folder) else {
            return;
        };
        let entries: Vec<_> = dir.flatten().collect();
        let has = |name: &[u8]| {
            entries
                .iter()
                .any(|entry| entry.file_name().to_bytes() == name)
        };
        // A git folder, or that of a linked work tree (gitrepository-layout(5)). An earlier program
        // may have taken a part of it away, to put it back when nobody looks.
        let is_git = here.path.ends_with(".git")
            || has(b"HEAD") && has(b"commondir")
            || has(b"objects") && has(b"refs") && (has(b"HEAD") || has(b"config") || has(b"hooks"));
        let at_root = here.path.as_os_str().is_empty() || has(b".git");
        if is_git {
            let kept = ["objects", "refs"].map(|part| here.path.join(part));
            let there = kept
                .into_iter()
                .filter(|part| has(part.file_name().unwrap_or_default().as_bytes()));
            self.found.pinned.extend(there);
            self.found.repositories.insert(here.path.clone());
        }
        for entry in &entries {
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = here.path.join(OsStr::from_bytes(name));
            let text = String::from_utf8_lossy(name);
            let guarded = (is_git
                && carriers::GIT.iter().any(|git| git.as_bytes() == name)
                && !self.names.allows(".git"))
                || (name == b".git"
                    && entry.file_type() != FileType::Directory
                    && !self.names.allows(".git"))
                || self.names.protects(&text, &path, at_root, here.in_packages);
            if guarded {
                self.found.carriers.insert(path.clone());
            }
            self.entry(folder.as_fd(), entry, &path, pending, here, guarded);
        }
    }

    fn entry(
        &mut self,
        folder: rustix::fd::BorrowedFd<'_>,
        entry: &rustix::fs::DirEntry,
        path: &Path,
        pending: &mut Vec<Pending>,
        here: &Pending,
        guarded: bool,
    ) {
        let name = entry.file_name();
        let mut kind = entry.file_type();
        let mut stat = None;
        if kind == FileType::Unknown || kind == FileType::RegularFile || self.stamps.is_some() {
            stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
            kind = stat
                .as_ref()
                .map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        if let (Some(stamps), Some(stat)) = (&mut self.stamps, &stat)
            && stamps.len() < MOST_STAMPS
        {
            stamps.insert(path.into(), stamp(stat, kind));
        }
        match kind {
            // What is in a protected folder is read-only already.
            FileType::Directory if !guarded || self.stamps.is_some() => {
                let in_packages = here.in_packages || name.to_bytes() == b"node_modules";
                pending.push(Pending {
                    path: path.into(),
                    in_packages,
                });
            }
            FileType::RegularFile => {
                if let Some(stat) = stat.filter(|stat| stat.st_nlink > 1 && !guarded) {
                    self.found.links.see(path, &stat);
                }
            }
            _ => {}
        }
    }
}

/// A folder changes its size and times with its entries, which are reported by themselves.
fn stamp(stat: &Stat, kind: FileType) -> Stamp {
    if kind == FileType::Directory {
        return (stat.st_ino, 0, 0, 0);
    }
    let nanos = |seconds: i64, nanos: u64| {
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanos as i64)
    };
    (
        stat.st_ino,
        stat.st_size as u64,
        nanos(stat.st_mtime, stat.st_mtime_nsec),
        nanos(stat.st_ctime, stat.st_ctime_nsec),
    )
}
