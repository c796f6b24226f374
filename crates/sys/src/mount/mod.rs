//! Mounts as file descriptors: open_tree(2), fsopen(2), mount_setattr(2), move_mount(2).
//!
//! A mount is made or copied detached, gets its attributes while nobody can reach it, and is
//! then put in place. There is no moment at which a path is mounted with too many rights, which
//! the older mount(2) can't promise: there a bind mount is writable until it is remounted.

mod rest;

pub use rest::{Covers, Empty, Rest, pivot_to_current_folder};

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::path::Path;

/// Attributes of a mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// No writes.
    pub const READ_ONLY: Self = Self(1);
    /// Set-id bits and file capabilities have no effect.
    pub const NO_SUID: Self = Self(2);
    /// Device nodes can't be opened.
    pub const NO_DEVICES: Self = Self(4);
    /// Nothing can be executed.
    pub const NO_EXEC: Self = Self(8);

    /// Both sets of attributes.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As fsmount(2) wants them.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// These, on a mount that is cut off from what the host mounts later.
    pub(crate) const fn private(self) -> MountAttr {
        MountAttr {
            set: self.0,
            clear: 0,
            propagation: libc::MS_PRIVATE,
            userns: 0,
        }
    }
}

/// A mount that is in no tree yet.
pub struct Detached(OwnedFd);

impl Detached {
    /// Copies the mount at a path, with everything mounted below it, as `mount --rbind` would.
    ///
    /// The last component is not followed if it is a symbolic link.
    pub fn copy(folder: BorrowedFd<'_>, path: &Path) -> Result<Self, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        open_tree(folder, path, flags).map(Self)
    }

    /// Copies the mount that this descriptor points to, with everything mounted below it.
    pub fn copy_of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(fd, "", flags).map(Self)
    }

    /// Makes a new file system, such as `tmpfs` with `size` and `nr_inodes`.
    pub fn new(
        kind: &str,
        options: &[(&str, &str)],
        attributes: Attributes,
    ) -> Result<Self, Errno> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            match *value {
                "" => rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?,
                value => fsconfig_set_string(context.as_fd(), *key, value)?,
            }
        }
        fsconfig_create(context.as_fd())?;
        let flags = MountAttrFlags::from_bits_retain(attributes.0 as u32);
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map(Self)
    }

    /// Adds attributes to the mount and all below it, and cuts it off from mounts that the host
    /// makes later.
    pub fn restrict(&self, attributes: Attributes) -> Result<(), Errno> {
        set_attributes(self.0.as_fd(), attributes)
    }

    /// Copies the mount at a path without what is mounted below it, and shows its files with other
    /// owners: as this user namespace maps them (Linux 5.12). For root, of a file system that has
    /// learnt it.
    pub fn mapped_copy(path: &Path, namespace: BorrowedFd<'_>) -> Result<Self, Errno> {
        const IDMAP: u64 = 0x0010_0000;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let copy = Self(open_tree(rustix::fs::CWD, path, flags)?);
        let attr = MountAttr {
            set: IDMAP | Attributes::READ_ONLY.and(Attributes::NO_SUID).0,
            clear: 0,
            propagation: libc::MS_PRIVATE,
            userns: namespace.as_raw_fd() as u64,
        };
        set(copy.as_fd(), &attr, libc::AT_EMPTY_PATH)?;
        Ok(copy)
    }

    /// Puts the mount at a path below a folder.
    pub fn attach(&self, folder: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
        move_mount(
            self.0.as_fd(),
            "",
            folder,
            path,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    }

    /// The mount's root, for whoever takes it over.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// The mount's root.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Detached {
    fn from(mount: OwnedFd) -> Self {
        Self(mount)
    }
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
pub(crate) struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    set(mount, &attributes.private(), flags)
}

fn set(mount: BorrowedFd<'_>, attr: &MountAttr, flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: attr is a whole mount_attr with its size, the path an empty C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}
