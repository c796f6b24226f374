//! Building the view from the plan's steps.
//!
//! The new root is a tmpfs of limited size (or an overlay, or an unpacked archive). It starts on
//! top of the host's /proc, the one folder that every host has; the pivot leaves all of that
//! behind. Until then, sources are host paths and targets are below `root`'s descriptor, so the
//! two can't be mistaken for each other.
//!
//! Every mount costs about 10 µs to make and some more to undo, which is most of a short run, so
//! what can be a plain folder or file of the tmpfs is one.

use super::layers;
use crate::layers::Layered;
use crate::plan::{Kind, Plan, Step, archive};
use crate::wire::Event;
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, Root};
use casemate_sys::Errno;
use casemate_sys::channel::Channel;
use casemate_sys::mount::{Attributes, Covers, Detached, Empty, Rest, pivot_to_current_folder};
use casemate_sys::process::early::Parts;
use casemate_sys::process::{Clone, exit_now};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chownat, mkdirat, openat, openat2, statat,
    symlinkat,
};
use rustix::process::{Gid, Uid, WaitId, WaitIdOptions, waitid};
use std::collections::VecDeque;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) const PLAIN: Attributes = Attributes::NO_SUID.and(Attributes::NO_DEVICES);

/// What procfs says of the host beyond what programs need (proc(5)). Covered if it exists.
const COVERED: &[&CStr] = &[
    c"acpi",
    c"asound",
    c"cmdline",
    c"diskstats",
    c"interrupts",
    c"key-users",
    c"keys",
    c"latency_stats",
    c"partitions",
    c"sched_debug",
    c"scsi",
    c"swaps",
];

/// What says little, or nothing at all, to anybody but root, and what only root can write;
/// covered where the program is root outside.
const COVERED_FOR_ROOT: &[&CStr] = &[
    c"bus",
    c"config.gz",
    c"driver",
    c"fs",
    c"iomem",
    c"ioports",
    c"irq",
    c"kallsyms",
    c"kcore",
    c"kmsg",
    c"kpagecgroup",
    c"kpagecount",
    c"kpageflags",
    c"modules",
    c"mtrr",
    c"pagetypeinfo",
    c"slabinfo",
    c"softirqs",
    c"sysrq-trigger",
    c"timer_list",
    c"timer_stats",
    c"vmallocinfo",
    c"zoneinfo",
];

const EMPTY_FOLDER: &CStr = c".empty";
const EMPTY_FILE: &CStr = c".empty-file";

/// What the supervisor gets to see of the view.
pub(super) struct View {
    pub(super) root: OwnedFd,
    pub(super) proc: OwnedFd,
    pub(super) disk: OwnedFd,
}

/// A view that is in place, and what is left to do to it.
pub(super) struct Pivoted {
    pub(super) view: View,
    pub(super) rest: Rest,
}

/// A view that is being built.
struct Builder {
    /// What was made before there was a plan.
    parts: Parts,
    /// Folders of the host's that are to be layered, with the sandbox's owners.
    mapped: VecDeque<Detached>,
    root: Detached,
    /// A tmpfs for the private folders, if the root isn't one itself.
    disk: Option<Detached>,
    /// For covers; they lose their names before the pivot.
    empty_folder: OwnedFd,
    empty_file: OwnedFd,
    /// The first covers that were put in place.
    folder_cover: Option<Detached>,
    file_cover: Option<Detached>,
    as_root: bool,
    /// The fresh procfs, and what of it isn't covered yet.
    uncovered: Option<(Detached, Vec<&'static CStr>)>,
    /// Nothing is in the root but what was put there here.
    fresh_root: bool,
    /// The folder that the last target was in.
    parent: Option<(PathBuf, OwnedFd)>,
}

/// Builds the view and makes it the root file system.
pub(super) fn build(
    plan: &Plan,
    parts: Parts,
    mapped: Vec<OwnedFd>,
    channel: &Channel,
) -> Result<Pivoted> {
    // An archive is opened while the host's paths still mean something.
    let archive = match &plan.spec.root {
        Root::Archive(path) => {
            Some(std::fs::File::open(path).map_err(|e| Error::io("open", &e).on(path.display()))?)
        }
        _ => None,
    };
    let mut builder = Builder::new(plan, parts, mapped)?;
    if let (Some(file), Root::Archive(path)) = (archive, &plan.spec.root) {
        unpack(&builder.root, path, file, channel)?;
    }
    for step in &plan.steps {
        builder.carry_out(step)?;
    }
    builder.finish()
}

impl Builder {
    fn new(plan: &Plan, parts: Parts, mapped: Vec<OwnedFd>) -> Result<Self> {
        let limits = &plan.spec.limits;
        let (size, inodes) = (limits.disk.value.0.to_string(), limits.inodes.to_string());
        let fresh = tmpfs(&[("size", &size), ("nr_inodes", &inodes), ("mode", "755")])?;
        put(
            &fresh,
            CWD,
            Path::new("/proc"),
            "put the private disk in place",
        )?;
        let (empty_folder, empty_file) = covers(&fresh)?;
        let (root, disk) = match &plan.spec.root {
            Root::Directory(path) => (overlay(plan, path)?, Some(fresh)),
            Root::Host | Root::Empty | Root::Archive(_) => (fresh, None),
        };
        if disk.is_some() {
            put(&root, CWD, Path::new("/proc"), "put the new root in place")?;
        }
        let as_root = plan.host.uid == 0;
        Ok(Self {
            parts,
            mapped: mapped.into_iter().map(Detached::from).collect(),
            root,
            disk,
            empty_folder,
            empty_file,
            folder_cover: None,
            file_cover: None,
            as_root,
            uncovered: None,
            fresh_root: matches!(plan.spec.root, Root::Host | Root::Empty),
            parent: None,
        })
    }

    fn carry_out(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Symlink { target, to } => self.symlink(target, to),
            Step::File { target, contents } => self.file(target, contents.as_bytes()),
            Step::Copy { path } => {
                let contents = std::fs::read(path)
                    .map_err(|error| Error::io("copy into the view", &error).on(path.display()))?;
                self.file(path, &contents)
            }
            Step::Bind {
                source,
                target,
                access,
                kind,
                devices,
            } => self.bind(source, target, *access, *kind, *devices),
            Step::Layered(layered) => self.layered(layered),
            Step::Private {
                target,
                name,
                mode,
                owner,
            } => self.private(target, name, *mode, *owner),
            Step::Cover { target, kind } => {
                let cover = self
                    .cover(*kind)
                    .map_err(|error| error.on(target.display()))?;
                self.mount(&cover, target, *kind)?;
                self.keep_cover(cover, *kind);
                Ok(())
            }
            Step::Pin { target, access } => self.pin(target, *access),
            Step::Proc => self.proc(),
            Step::Terminals => {
                let mount = self.parts.terminals();
                self.fresh(mount, "/dev/pts")
            }
            // Landlock looks at mq_open(3) as at the making of a file in this file system.
            Step::Queues => {
                let mount = self.parts.queues();
                self.fresh(mount, "/dev/mqueue")
            }
        }
    }

    /// An overlay of a folder of the host's, or that folder as it is where there can't be one.
    fn layered(&mut self, layered: &Layered) -> Result<()> {
        let target = &layered.path;
        let lower = self.mapped.pop_front();
        if lower.is_none() && layered.skeleton.is_none() {
            return self.bind(target, target, Access::ReadOnly, Kind::Folder, false);
        }
        match layers::mount(self.root.as_fd(), layered, lower) {
            Ok(mount) => self.mount(&mount, target, Kind::Folder),
            Err(_) => self.bind(target, target, Access::ReadOnly, Kind::Folder, false),
        }
    }

    /// An empty folder: of the root itself if that is fresh, else of the private disk.
    fn private(
        &mut self,
        target: &Path,
        name: &str,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        let make = |parent: BorrowedFd<'_>, name: &OsStr| {
            make_folder(parent, name, mode)
                .and_then(|()| give(parent, name, owner))
                .map_err(|error| error.on(target.display()))
        };
        let Some(disk) = &self.disk else {
            let (parent, name) = self.place(target)?;
            return make(parent, name);
        };
        make(disk.as_fd(), OsStr::new(name))?;
        let fail = |errno| failed("mount", errno).on(target.display());
        let copy = Detached::copy_of(open_path(disk.as_fd(), name)?.as_fd()).map_err(fail)?;
        copy.restrict(PLAIN).map_err(fail)?;
        self.mount(&copy, target, Kind::Folder)
    }

    /// A file system of the sandbox's own namespaces.
    fn fresh(&mut self, mount: Result<Detached, Errno>, target: &str) -> Result<()> {
        let mount = mount.map_err(|errno| failed("mount a fresh", errno).on(target))?;
        self.mount(&mount, Path::new(target), Kind::Folder)
    }

    fn bind(
        &mut self,
        source: &Path,
        target: &Path,
        access: Access,
        kind: Kind,
        devices: bool,
    ) -> Result<()> {
        let fail = |errno| {
            failed("bring in", errno)
                .on(source.display())
                .hint("the path must be readable and must exist when the run starts")
        };
        let mut attributes = if devices { Attributes::NO_SUID } else { PLAIN };
        if access != Access::ReadWrite {
            attributes = attributes.and(Attributes::READ_ONLY);
        }
        let copy = match self.parts.copy(source, attributes) {
            Some(copy) => copy,
            None => {
                let copy = Detached::copy(CWD, source).map_err(fail)?;
                copy.restrict(attributes).map_err(fail)?;
                copy
            }
        };
        self.mount(&copy, target, kind)
    }

    /// Mounts a part of the view on itself. The path is opened below the new root, so that a
    /// link that somebody put there since the plan was made leads nowhere else.
    fn pin(&mut self, target: &Path, access: Access) -> Result<()> {
        let fail = |errno| failed("protect", errno).on(target.display());
        let relative = target.strip_prefix("/").unwrap_or(target);
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let fd =
            openat2(self.root.as_fd(), relative, flags, Mode::empty(), resolve).map_err(fail)?;
        let copy = Detached::copy_of(fd.as_fd()).map_err(fail)?;
        let attributes = if access == Access::ReadWrite {
            PLAIN
        } else {
            PLAIN.and(Attributes::READ_ONLY)
        };
        copy.restrict(attributes).map_err(fail)?;
        let (parent, name) = self.place(target)?;
        put(&copy, parent, Path::new(name), "protect").map_err(|error| error.on(target.display()))
    }

    fn proc(&mut self) -> Result<()> {
        let attributes = PLAIN.and(Attributes::NO_EXEC);
        // Processes that the program can't trace don't exist for it: init is one.
        let proc = Detached::new("proc", &[("hidepid", "ptraceable")], attributes).map_err(|errno| {
            failed("mount a fresh /proc", errno).hint(
                "the kernel refuses it where parts of /proc are covered, as in most containers; \
                 start the container with an unmasked /proc (docker: --security-opt systempaths=unconfined)",
            )
        })?;
        self.mount(&proc, Path::new("/proc"), Kind::Folder)?;
        let fail = |errno| failed("make /proc/sys read-only", errno);
        let sys = open_path(proc.as_fd(), "sys")?;
        let sys = Detached::copy_of(sys.as_fd()).map_err(fail)?;
        sys.restrict(attributes.and(Attributes::READ_ONLY))
            .map_err(fail)?;
        put(
            &sys,
            proc.as_fd(),
            Path::new("sys"),
            "make /proc/sys read-only",
        )?;
        let more = if self.as_root { COVERED_FOR_ROOT } else { &[] };
        let mut names = COVERED.iter().chain(more).copied();
        // One cover of each kind is made here, and the others are copies of them.
        while self.folder_cover.is_none() || self.file_cover.is_none() {
            match names.next() {
                Some(name) => self.cover_in(proc.as_fd(), name)?,
                None => return Ok(()),
            }
        }
        self.uncovered = Some((proc, names.collect()));
        Ok(())
    }

    /// Covers a file or folder if it exists.
    fn cover_in(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            _ => Kind::File,
        };
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let cover = self.cover(kind).map_err(|error| error.on(name.display()))?;
        put(&cover, folder, name, "cover")?;
        self.keep_cover(cover, kind);
        Ok(())
    }

    /// Something empty and read-only. What is copied from a cover in place has its restrictions.
    fn cover(&self, kind: Kind) -> Result<Detached> {
        let fail = |errno| failed("cover", errno);
        let (placed, source) = if kind == Kind::Folder {
            (&self.folder_cover, &self.empty_folder)
        } else {
            (&self.file_cover, &self.empty_file)
        };
        if let Some(placed) = placed {
            return Detached::copy_of(placed.as_fd()).map_err(fail);
        }
        let cover = Detached::copy_of(source.as_fd()).map_err(fail)?;
        cover
            .restrict(PLAIN.and(Attributes::READ_ONLY))
            .map_err(fail)?;
        Ok(cover)
    }

    /// Keeps a cover that is in place, for the next of its kind.
    fn keep_cover(&mut self, cover: Detached, kind: Kind) {
        let kept = if kind == Kind::Folder {
            &mut self.folder_cover
        } else {
            &mut self.file_cover
        };
        kept.get_or_insert(cover);
    }

    fn symlink(&mut self, target: &Path, to: &Path) -> Result<()> {
        let (parent, name) = self.place(target)?;
        match symlinkat(to, parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("make the link", errno).on(target.display())),
        }
    }

    fn file(&mut self, target: &Path, contents: &[u8]) -> Result<()> {
        let fresh = self.fresh_root;
        let (parent, name) = self.place(target)?;
        let fail = |errno| failed("write", errno).on(target.display());
        if !fresh {
            // A root file system of the caller's may have a link there.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::from_raw_mode(0o644)).map_err(fail)?;
        let mut left = contents;
        while !left.is_empty() {
            let written = rustix::io::write(&file, left).map_err(fail)?;
            left = &left[written..];
        }
        Ok(())
    }

    /// Makes the mount point if it isn't there, and mounts.
    fn mount(&mut self, mount: &Detached, target: &Path, kind: Kind) -> Result<()> {
        let (parent, name) = self.place(target)?;
        match kind {
            Kind::Folder => {
                make_folder(parent, name, 0o755).map_err(|error| error.on(target.display()))?
            }
            Kind::File => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::CLOEXEC
                    | OFlags::NOFOLLOW;
                match openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
                    Ok(_) | Err(Errno::EXIST) => {}
                    Err(errno) => {
                        return Err(failed("make the mount point", errno).on(target.display()));
                    }
                }
            }
        }
        put(mount, parent, Path::new(name), "mount").map_err(|error| error.on(target.display()))
    }

    /// The folder that a target is in, made if it isn't there, and the target's name. Never
    /// leaves the new root, whatever links a root file system of the caller's has.
    fn place<'a>(&mut self, target: &'a Path) -> Result<(BorrowedFd<'_>, &'a OsStr)> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::rule("mount", "not a path below /").on(target.display()))?;
        let folder = target.parent().unwrap_or(Path::new("/"));
        if folder == Path::new("/") {
            return Ok((self.root.as_fd(), name));
        }
        if self.parent.as_ref().is_none_or(|(path, _)| path != folder) {
            let fd = open_or_make(self.root.as_fd(), folder)?;
            self.parent = Some((folder.into(), fd));
        }
        match &self.parent {
            Some((_, fd)) => Ok((fd.as_fd(), name)),
            None => Err(Error::rule("mount", "no folder").on(target.display())),
        }
    }

    /// Pivots.
    fn finish(self) -> Result<Pivoted> {
        let fail = |what: &'static str| move |errno| failed(what, errno);
        let disk = self.disk.as_ref().unwrap_or(&self.root);
        let keep_disk = || rustix::io::dup(disk.as_fd()).map_err(fail("keep the disk"));
        let (disk, parent) = (keep_disk()?, keep_disk()?);
        rustix::process::fchdir(self.root.as_fd()).map_err(fail("enter the new root"))?;
        let covers = match (self.uncovered, self.folder_cover, self.file_cover) {
            (None, ..) => None,
            (Some((proc, names)), Some(on_folder), Some(on_file)) => Some(Covers {
                folder: proc.into_fd(),
                on_folder: on_folder.into_fd(),
                on_file: on_file.into_fd(),
                names,
            }),
            _ => return Err(Error::rule("cover /proc", "there is no cover")),
        };
        let empty = Empty {
            parent,
            folder: EMPTY_FOLDER,
            file: EMPTY_FILE,
        };
        let rest = pivot_to_current_folder(covers, empty).map_err(fail("pivot to the new root"))?;
        let open = |path: &str| open_path(CWD, path);
        let view = View {
            root: open("/")?,
            proc: open("/proc")?,
            disk,
        };
        Ok(Pivoted { view, rest })
    }
}

/// An empty folder and an empty file, to be mounted on what is covered.
fn covers(disk: &Detached) -> Result<(OwnedFd, OwnedFd)> {
    make_folder(disk.as_fd(), EMPTY_FOLDER, 0o555)?;
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(disk.as_fd(), EMPTY_FILE, flags, Mode::from_raw_mode(0o444))
        .map_err(|errno| failed("make an empty file", errno))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = openat(disk.as_fd(), EMPTY_FOLDER, flags, Mode::empty())
        .map_err(|errno| failed("open an empty folder", errno))?;
    Ok((folder, file))
}

fn tmpfs(options: &[(&str, &str)]) -> Result<Detached> {
    Detached::new("tmpfs", options, PLAIN).map_err(|errno| {
        let error = failed("make a tmpfs", errno);
        match errno {
            Errno::PERM | Errno::ACCESS => error.hint(
                "this user namespace has no rights over mounts; on Ubuntu that is \
                 kernel.apparmor_restrict_unprivileged_userns=1; `casemate doctor` says more",
            ),
            _ => error,
        }
    })
}

/// A copy-on-write root: the caller's folder below, the private disk or `--keep` above.
///
/// overlayfs takes paths and gives some letters a meaning, so the lower folder is "here". The
/// disk is mounted on /proc at this moment, so that is its path.
fn overlay(plan: &Plan, lower: &Path) -> Result<Detached> {
    let upper = plan.spec.keep.as_deref().unwrap_or(Path::new("/proc"));
    let (writes, work) = (upper.join("upper"), upper.join("work"));
    for folder in [&writes, &work] {
        make_folder(CWD, folder, 0o755).map_err(|error| error.on(folder.display()))?;
    }
    let text = |path: PathBuf| path.to_string_lossy().replace('\\', "\\\\");
    let (writes, work) = (text(writes), text(work));
    let fail = |errno| failed("mount an overlay on", errno).on(lower.display());
    rustix::process::chdir(lower).map_err(fail)?;
    let options = [
        ("lowerdir", "."),
        ("upperdir", writes.as_str()),
        ("workdir", work.as_str()),
        ("userxattr", ""),
    ];
    Detached::new("overlay", &options, PLAIN).map_err(|errno| {
        fail(errno).hint(
            "overlayfs in a user namespace needs Linux 5.11, and user xattrs where the writes go",
        )
    })
}

/// Unpacks an archive into the new root, from a process that can't see anything else.
fn unpack(root: &Detached, path: &Path, file: std::fs::File, channel: &Channel) -> Result<()> {
    let fail = |errno| failed("unpack", errno).on(path.display());
    let child = match casemate_sys::process::clone(0, None).map_err(fail)? {
        Clone::Parent(child) => child,
        Clone::Child => {
            let entered =
                rustix::process::fchdir(root.as_fd()).and_then(|()| rustix::process::chroot("."));
            let result = entered
                .map_err(fail)
                .and_then(|()| archive::unpack(path, file, Path::new("/")));
            if let Err(error) = &result {
                let _ = channel.send(&Event::Failed(error.clone().into()).encode(), &[]);
            }
            exit_now(i32::from(result.is_err()));
        }
    };
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(fail)?;
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        // The child has said why.
        _ => exit_now(1),
    }
}

fn put(mount: &Detached, folder: BorrowedFd<'_>, name: &Path, step: &str) -> Result<()> {
    mount
        .attach(folder, name)
        .map_err(|errno| failed(step, errno).on(name.display()))
}

fn make_folder(parent: BorrowedFd<'_>, name: impl rustix::path::Arg, mode: u32) -> Result<()> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("make the folder", errno)),
    }
}

/// Makes something another user's.
fn give(parent: BorrowedFd<'_>, name: &OsStr, owner: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = owner else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|errno| failed("give the folder to its user", errno))
}

fn open_path(
    folder: BorrowedFd<'_>,
    path: impl rustix::path::Arg + Copy + AsRef<Path>,
) -> Result<OwnedFd> {
    openat(folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open", errno).on(path.as_ref().display()))
}

/// Opens a folder below the root, making what is missing.
fn open_or_make(root: BorrowedFd<'_>, folder: &Path) -> Result<OwnedFd> {
    let relative = folder.strip_prefix("/").unwrap_or(folder);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed("open the folder", errno).on(folder.display())),
    }
    let (parent, name) = match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(Error::rule("make the folder", "not a path").on(folder.display())),
    };
    let parent = if parent == Path::new("/") {
        rustix::io::dup(root).map_err(|e| failed("open", e))?
    } else {
        open_or_make(root, parent)?
    };
    make_folder(parent.as_fd(), name, 0o755).map_err(|error| error.on(folder.display()))?;
    openat2(root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(|errno| failed("open the folder", errno).on(folder.display()))
}

fn failed(step: &str, errno: Errno) -> Error {
    Error::errno(step, errno.raw_os_error())
}
