//! The place where the bench works: a tmpfs, so that no disk is measured; and on a disk, where
//! programs are when they are installed, a copy of every program, so that an unprivileged user can
//! reach them all. Pages of a tmpfs are mapped one by one, those of a disk's cache by the dozen: a
//! large program starts 0.3 ms faster from there.
//!
//! Root takes fixed paths, so that a run which was killed is cleaned up by the next; anyone else
//! folders of /dev/shm and /var/tmp. Dropping the ground removes them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const MOUNT_POINT: &str = "/var/cache/casemate-bench";
const PROGRAMS: &str = "/var/cache/casemate-bench-programs";

/// The tmpfs of one run.
pub(crate) struct Ground {
    root: PathBuf,
    /// Where the programs are.
    bin: PathBuf,
    kind: Kind,
}

enum Kind {
    /// Mounted by us; the lock says that its owner lives.
    Mounted { _lock: File },
    Shared {
        _folder: tempfile::TempDir,
        _programs: tempfile::TempDir,
    },
}

/// What one user works in.
pub(crate) struct Home {
    /// Who owns it.
    pub(crate) uid: u32,
    /// Its HOME; beside the working directories, as a sandbox may hide it.
    pub(crate) home: PathBuf,
    /// Working directory of the start-up cases: holds nothing.
    pub(crate) empty: PathBuf,
    /// Working directory of the workloads: the tree, its tarball, the workload program.
    pub(crate) work: PathBuf,
}

impl Ground {
    /// Makes the place, after removing what a killed run left.
    pub(crate) fn open() -> Result<Self> {
        match rustix::process::geteuid().is_root() {
            true => mounted(),
            false => shared(),
        }
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Copies a program in and makes it executable for everyone.
    pub(crate) fn program(&self, source: &Path, name: &str) -> Result<PathBuf> {
        let copy = self.bin.join(name);
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(source, &copy)
            .with_context(|| format!("cannot copy {} to {}", source.display(), copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        Ok(copy)
    }

    /// The folders of one user.
    pub(crate) fn home(&self, uid: u32) -> Result<Home> {
        let root = self.root.join(format!("u{uid}"));
        let home = Home {
            uid,
            home: root.join("home"),
            empty: root.join("empty"),
            work: root.join("work"),
        };
        for folder in [&root, &home.home, &home.empty, &home.work] {
            fs::create_dir_all(folder)?;
            chown(folder, Some(uid), Some(uid))
                .with_context(|| format!("cannot give {} to uid {uid}", folder.display()))?;
        }
        Ok(home)
    }
}

impl Home {
    /// The whole environment of every measured program, and of bubblewrap's payload.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME", self.home.display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
        ]
    }

    /// A program of its owner's, with that environment and no other.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .uid(self.uid)
            .gid(self.uid);
        command
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Kind::Mounted { .. } = self.kind {
            let _ = unmount(&self.root, UnmountFlags::DETACH);
            let _ = fs::remove_dir(&self.root);
            let _ = fs::remove_dir_all(&self.bin);
        }
    }
}

fn mounted() -> Result<Ground> {
    let root = PathBuf::from(MOUNT_POINT);
    fs::create_dir_all(&root).with_context(|| format!("cannot make {MOUNT_POINT}"))?;
    while is_mount_point(&root)? {
        if File::open(&root)?.try_lock().is_err() {
            bail!("{MOUNT_POINT} is in use\nhint: another `bench run` is going on; wait for it");
        }
        unmount(&root, UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount what a killed run left at {MOUNT_POINT}"))?;
    }
    mount(
        "casemate-bench",
        &root,
        "tmpfs",
        MountFlags::NODEV,
        Some(c"mode=755,size=2g"),
    )
    .with_context(|| format!("cannot mount a tmpfs at {MOUNT_POINT}"))?;
    let lock = File::open(&root)?;
    lock.try_lock()
        .with_context(|| format!("cannot lock {MOUNT_POINT}"))?;
    let bin = PathBuf::from(PROGRAMS);
    let _ = fs::remove_dir_all(&bin);
    fs::create_dir(&bin).with_context(|| format!("cannot make {PROGRAMS}"))?;
    Ok(Ground {
        root,
        bin,
        kind: Kind::Mounted { _lock: lock },
    })
}

fn shared() -> Result<Ground> {
    let folder = tempfile::Builder::new()
        .prefix("casemate-bench-")
        .tempdir_in("/dev/shm")
        .context("cannot make a folder in /dev/shm\nhint: the bench needs a tmpfs to work in")?;
    let programs = tempfile::Builder::new()
        .prefix("casemate-bench-")
        .tempdir_in("/var/tmp")
        .context("cannot make a folder in /var/tmp")?;
    Ok(Ground {
        root: folder.path().to_owned(),
        bin: programs.path().to_owned(),
        kind: Kind::Shared {
            _folder: folder,
            _programs: programs,
        },
    })
}

fn is_mount_point(folder: &Path) -> Result<bool> {
    let parent = folder
        .parent()
        .context("the root is always a mount point")?;
    Ok(fs::metadata(folder)?.dev() != fs::metadata(parent)?.dev())
}
