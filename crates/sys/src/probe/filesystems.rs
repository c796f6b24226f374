//! The mount API on file descriptors, tmpfs with limits, and overlayfs, in a user namespace.
//!
//! `fsopen(2)`, `open_tree(2)`, `mount_setattr(2)`, `tmpfs(5)`, and
//! `Documentation/filesystems/overlayfs.rst`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat, unlinkat,
};
use rustix::io::{Errno, write};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::{Attempt, child, userns};

/// The mount API that the view is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountApi {
    /// `open_tree(2)` of a copy of `/` with all that is mounted below (Linux 5.2).
    pub open_tree: Attempt,
    /// `mount_setattr(2)`: the copy, whole, made read-only (Linux 5.12).
    pub read_only: Attempt,
    /// `move_mount(2)` of the copy to its place (Linux 5.2).
    pub move_mount: Attempt,
    /// `fsopen(2)`, `fsconfig(2)`, `fsmount(2)` of a new file system (Linux 5.2).
    pub fsopen: Attempt,
}

/// A tmpfs whose size and inodes end where they were told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Mounting one with `size=` and `nr_inodes=`.
    pub mount: Attempt,
    /// Writing more than its size was refused.
    pub size: Attempt,
    /// Creating more files than its inodes was refused.
    pub inodes: Attempt,
}

/// An overlay of a tmpfs on a tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Mounting it (Linux 5.11 in a user namespace).
    pub mount: Attempt,
    /// A file of the lower layer opened for writing is copied up.
    pub copy_up: Attempt,
    /// A file of the lower layer is deleted, which leaves a whiteout.
    pub delete: Attempt,
}

/// Copies the mount tree, makes the copy read-only, moves it over `/`, and mounts a tmpfs.
pub fn mount_api() -> MountApi {
    let steps = child::attempt::<4>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNS).is_err() {
            return;
        }
        slots.note(3, tmpfs(&[]));
        let Some(tree) = slots.note(0, copy_of_root()) else {
            return;
        };
        slots.note(1, make_read_only(&tree));
        slots.note(2, put_over_root(&tree));
    });
    MountApi {
        open_tree: steps.at(0),
        read_only: steps.at(1),
        move_mount: steps.at(2),
        fsopen: steps.at(3),
    }
}

/// Fills a tmpfs beyond its size and its inodes.
pub fn tmpfs_limits() -> Tmpfs {
    let steps = child::attempt::<3>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNS).is_err() {
            return;
        }
        let options = [("size", "64k"), ("nr_inodes", "4")];
        if let Some(root) = slots.note(0, tmpfs(&options)) {
            slots.note(1, refuses_bytes(&root));
            slots.note(2, refuses_files(&root));
        }
    });
    Tmpfs {
        mount: steps.at(0),
        size: steps.at(1),
        inodes: steps.at(2),
    }
}

/// Mounts an overlay, writes to a file of its lower layer and deletes another.
pub fn overlay() -> Overlay {
    let steps = child::attempt::<3>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNS).is_err() {
            return;
        }
        let mounted = layers().and_then(|layers| Ok((overlay_of_layers()?, layers)));
        if let Some((root, layers)) = slots.note(0, mounted) {
            slots.note(
                1,
                create(&root, "written").and(exists(&layers, "upper/written")),
            );
            slots.note(2, unlinkat(&root, "deleted", AtFlags::empty()));
        }
    });
    Overlay {
        mount: steps.at(0),
        copy_up: steps.at(1),
        delete: steps.at(2),
    }
}

fn copy_of_root() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, "/", flags)
}

fn make_read_only(tree: &OwnedFd) -> Result<(), Errno> {
    // struct mount_attr of linux/mount.h: attr_set, attr_clr, propagation, userns_fd.
    let attributes = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0_u64];
    // SAFETY: the path is a C string, and the kernel reads exactly the size of `attributes`.
    child::checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })?;
    let flags = fstatvfs(tree)?.f_flag;
    let read_only = flags.contains(StatVfsMountFlags::RDONLY);
    read_only.then_some(()).ok_or(Errno::OPNOTSUPP)
}

fn put_over_root(mount: &OwnedFd) -> Result<(), Errno> {
    move_mount(mount, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn tmpfs(options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    mounted(&context)
}

fn mounted(context: &OwnedFd) -> Result<OwnedFd, Errno> {
    fsconfig_create(context)?;
    let cloexec = FsMountFlags::FSMOUNT_CLOEXEC;
    fsmount(context, cloexec, MountAttrFlags::empty())
}

fn refuses_bytes(root: &OwnedFd) -> Result<(), Errno> {
    let file = create(root, "full")?;
    let block = [0_u8; 4096];
    let full = (0..32).find_map(|_| write(&file, &block).err());
    // The file takes one of the inodes that the next step counts.
    unlinkat(root, "full", AtFlags::empty())?;
    only(Errno::NOSPC, full)
}

fn refuses_files(root: &OwnedFd) -> Result<(), Errno> {
    let names = ["a", "b", "c", "d", "e", "f"];
    let full = names.iter().find_map(|name| create(root, name).err());
    only(Errno::NOSPC, full)
}

/// The expected refusal is the success; anything else is the failure.
fn only(expected: Errno, seen: Option<Errno>) -> Result<(), Errno> {
    match seen {
        Some(errno) if errno == expected => Ok(()),
        Some(other) => Err(other),
        None => Err(Errno::OPNOTSUPP),
    }
}

/// A tmpfs with three folders for an overlay, mounted and made the working directory, since an
/// overlay's layers are named by path.
fn layers() -> Result<OwnedFd, Errno> {
    let root = tmpfs(&[("size", "256k")])?;
    put_over_root(&root)?;
    rustix::process::fchdir(&root)?;
    for folder in ["lower", "upper", "work"] {
        mkdirat(&root, folder, Mode::RWXU)?;
    }
    create(&root, "lower/written")?;
    create(&root, "lower/deleted")?;
    Ok(root)
}

fn overlay_of_layers() -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [
        ("lowerdir", "lower"),
        ("upperdir", "upper"),
        ("workdir", "work"),
    ] {
        fsconfig_set_string(&context, key, value)?;
    }
    // Trusted attributes are out of reach in a user namespace.
    fsconfig_set_flag(&context, "userxattr")?;
    mounted(&context)
}

fn create(folder: &impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
}

fn exists(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(drop)
}
