//! A root folder in which nothing is and nothing can be made.

use crate::Errno;
use crate::mount::{Attributes, Detached};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

/// What of the old root is still needed after it is gone.
pub struct Kept {
    /// The old root's /proc. It is in no tree any more, and a path leads into it from here only.
    pub proc: OwnedFd,
    /// The device that gives and takes nothing.
    pub null: OwnedFd,
}

/// Puts this process, in a mount namespace of its own, into an empty read-only file system, and lets
/// go of all others.
pub fn leave() -> Result<Kept, Errno> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let kept = Kept {
        proc: rustix::fs::open("/proc", folder, Mode::empty())?,
        null: rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
    };
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let attributes = Attributes::READ_ONLY
        .and(Attributes::NO_SUID)
        .and(Attributes::NO_DEVICES)
        .and(Attributes::NO_EXEC);
    let options = [("size", "4k"), ("nr_inodes", "1"), ("mode", "555")];
    let empty = Detached::new("tmpfs", &options, attributes)?;
    empty.attach(CWD, std::path::Path::new("/proc"))?;
    rustix::process::fchdir(empty.as_fd())?;
    // The old root comes to lie on the new one, and is taken off.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(kept)
}
