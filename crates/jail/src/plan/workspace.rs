//! Writable host folders: what in them the host would later execute or trust.
//!
//! One walk over the folder finds the carriers, which become read-only, and the files that have
//! a name outside of it, which would be changed there too. Pinning a path means mounting it on
//! itself: a mount point can't be renamed or removed, so neither the carrier nor any folder
//! above it can be moved out of the way.
//!
//! Names that don't exist yet can't be mounted on, and placeholders would litter the host; the
//! supervisor watches for them instead (see `supervisor::guard`).

use super::Step;
use casemate_core::carriers::{self, Place};
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, SandboxSpec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// More protected paths than this mean a mount table that slows everything down.
const MOST_PROTECTED: usize = 1024;

/// Files that are remembered for a report; a program may make more than memory holds.
const MOST_STAMPS: usize = 1_000_000;

/// What tells that a file changed: inode, size, content and status time.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// A writable folder and what was found in it.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Paths that are read-only inside, relative to the root.
    pub(crate) protected: BTreeSet<PathBuf>,
    /// Folders whose new entries are watched, and the names that must not appear there.
    pub(crate) watched: Vec<(PathBuf, Vec<String>)>,
    /// Git folders that existed at the start.
    pub(crate) repositories: BTreeSet<PathBuf>,
    /// Every file, if a report is wanted.
    pub(crate) before: Option<BTreeMap<PathBuf, Stamp>>,
}

impl Workspace {
    /// Walks the folder.
    pub(super) fn scan(root: &Path, spec: &SandboxSpec) -> Result<Self> {
        let names = Names::of(spec);
        let mut walk = Walk {
            names: &names,
            found: Found::default(),
            stamps: spec.report.then(BTreeMap::new),
        };
        walk.folder(root)?;
        let Found {
            carriers,
            repositories,
            links,
        } = walk.found;
        let mut protected: BTreeSet<PathBuf> = carriers;
        protected.extend(links.leading_outside());
        if protected.len() > MOST_PROTECTED {
            return Err(Error::rule(
                "protect",
                format!("{} paths in it would have to be read-only", protected.len()),
            )
            .on(root.display())
            .hint("choose a smaller --workdir, or accept names with --allow-carrier NAME"));
        }
        let mut watched = vec![(PathBuf::new(), names.missing_at_root(&protected))];
        for repository in &repositories {
            let missing = carriers::GIT
                .iter()
                .filter(|name| !protected.contains(&repository.join(name)));
            let missing = missing
                .filter(|_| !names.allows(".git"))
                .map(|name| (*name).to_owned());
            watched.push((repository.clone(), missing.collect()));
        }
        Ok(Self {
            root: root.into(),
            protected,
            watched,
            repositories,
            before: walk.stamps,
        })
    }

    /// Pins for every folder on the way to something protected, outermost first, then the
    /// protected paths themselves.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut pins: BTreeMap<(usize, &Path), Access> = BTreeMap::new();
        for path in &self.protected {
            let above = path
                .ancestors()
                .skip(1)
                .filter(|folder| !folder.as_os_str().is_empty());
            for folder in above {
                pins.entry((folder.components().count(), folder))
                    .or_insert(Access::ReadWrite);
            }
            pins.insert((path.components().count(), path), Access::ReadOnly);
        }
        // A git folder is pinned even if nothing in it is protected yet.
        for path in self
            .repositories
            .iter()
            .filter(|path| !path.as_os_str().is_empty())
        {
            pins.entry((path.components().count(), path))
                .or_insert(Access::ReadWrite);
        }
        pins.into_iter()
            .map(|((_, path), access)| Step::Pin {
                target: self.root.join(path),
                access,
            })
            .collect()
    }

    /// The stamps of all files now.
    pub(crate) fn stamps(root: &Path) -> BTreeMap<PathBuf, Stamp> {
        let names = Names::default();
        let mut walk = Walk {
            names: &names,
            found: Found::default(),
            stamps: Some(BTreeMap::new()),
        };
        // What can't be read now is missing from the report, which is better than no report.
        let _ = walk.folder(root);
        walk.stamps.unwrap_or_default()
    }
}

/// The names that are protected in this run.
#[derive(Default)]
pub(crate) struct Names {
    allowed: BTreeSet<String>,
    added: BTreeSet<String>,
}

impl Names {
    fn of(spec: &SandboxSpec) -> Self {
        Self {
            allowed: spec.allow_carriers.clone(),
            added: spec.protect_carriers.clone(),
        }
    }

    fn allows(&self, name: &str) -> bool {
        self.allowed.contains(name)
    }

    /// Names that don't exist at a workspace's root and must not appear there.
    fn missing_at_root(&self, protected: &BTreeSet<PathBuf>) -> Vec<String> {
        let listed = carriers::NAMES.iter().map(|carrier| carrier.path);
        let added = self
            .added
            .iter()
            .map(String::as_str)
            .filter(|name| !name.contains('/'));
        listed
            .chain(added)
            .filter(|name| !self.allows(name) && !protected.contains(Path::new(name)))
            .map(str::to_owned)
            .collect()
    }

    /// True if an entry that exists is protected.
    fn protects(&self, name: &str, path: &Path, at_root: bool, in_packages: bool) -> bool {
        if self.allows(name) {
            return false;
        }
        let added = self
            .added
            .iter()
            .any(|added| path == Path::new(added) || (at_root && name == added));
        let listed = carriers::find(name.as_bytes()).is_some_and(|carrier| match carrier.place {
            Place::Root => at_root,
            Place::Anywhere => !in_packages,
        });
        added || listed
    }
}

#[derive(Default)]
struct Found {
    carriers: BTreeSet<PathBuf>,
    repositories: BTreeSet<PathBuf>,
    links: Links,
}

/// Names of files that have several.
#[derive(Default)]
struct Links(HashMap<(u64, u64), (u64, Vec<PathBuf>)>);

impl Links {
    fn see(&mut self, path: &Path, stat: &Stat) {
        let entry = self
            .0
            .entry((stat.st_dev, stat.st_ino))
            .or_insert((stat.st_nlink, Vec::new()));
        entry.1.push(path.into());
    }

    /// Files with more names than were seen.
    fn leading_outside(self) -> BTreeSet<PathBuf> {
        self.0
            .into_values()
            .filter(|(count, seen)| *count > seen.len() as u64)
            .flat_map(|(_, seen)| seen)
            .collect()
    }
}

struct Walk<'a> {
    names: &'a Names,
    found: Found,
    stamps: Option<BTreeMap<PathBuf, Stamp>>,
}

/// A folder still to be read, relative to the root.
struct Pending {
    path: PathBuf,
    in_packages: bool,
}

impl Walk<'_> {
    fn folder(&mut self, root: &Path) -> Result<()> {
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
                // What the caller can't read, the program can't either; what vanished is gone.
                Err(_) => continue,
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
        let is_git = has(b"HEAD") && has(b"objects") && has(b"refs");
        let at_root = here.path.as_os_str().is_empty() || has(b".git");
        if is_git {
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
            self.entry(folder.as_fd(), entry, &path, pending, here, guarded, is_git);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one entry with all that is known of its folder"
    )]
    fn entry(
        &mut self,
        folder: rustix::fd::BorrowedFd<'_>,
        entry: &rustix::fs::DirEntry,
        path: &Path,
        pending: &mut Vec<Pending>,
        here: &Pending,
        guarded: bool,
        is_git: bool,
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
            // What is in a protected folder is read-only already; objects hold no carriers.
            FileType::Directory if !guarded || self.stamps.is_some() => {
                if is_git && name.to_bytes() == b"objects" && self.stamps.is_none() {
                    return;
                }
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
