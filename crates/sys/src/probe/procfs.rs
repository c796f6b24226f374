//! A fresh `/proc` for a new pid namespace.
//!
//! The kernel allows it in a user namespace only where the surrounding `/proc` is wholly
//! visible; a container that masks parts of its own `/proc` takes the right away
//! (`mount_too_revealing` in `fs/namespace.c`). `mount_namespaces(7)`.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::{Attempt, child, mountinfo, userns};

/// Whether a fresh `/proc` can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcMount {
    /// Mounting it as the init of a new pid namespace.
    pub mount: Attempt,
    /// What is mounted over parts of the present `/proc`, such as `/proc/kcore`.
    pub masks: Vec<String>,
}

/// Mounts a detached `/proc` in a new pid namespace and finds its own process 1 there.
pub fn probe() -> ProcMount {
    let steps = child::attempt::<1>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNS | libc::CLONE_NEWPID).is_err() {
            return;
        }
        let init = child::fork(|| {
            slots.note(0, mount_own());
        });
        match init {
            Ok(init) => {
                child::reap(init);
            }
            Err(errno) => slots.refuse(0, errno),
        }
    });
    ProcMount {
        mount: steps.at(0),
        masks: masks(),
    }
}

fn mount_own() -> Result<(), Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let root = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    rustix::fs::openat(
        &root,
        "1/status",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(drop)
}

fn masks() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    covered(&mountinfo::parse(&text))
}

/// What covers parts of `/proc`; the folder that the kernel keeps for binfmt_misc does not count.
fn covered(mounts: &[mountinfo::Mount]) -> Vec<String> {
    let over = mountinfo::below(mounts, "/proc").into_iter();
    let mut points: Vec<String> = over
        .map(|mount| mount.point.clone())
        .filter(|point| point != "/proc/sys/fs/binfmt_misc")
        .collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_found_and_binfmt_misc_is_not_one() {
        let text = "\
1 0 0:1 / /proc rw - proc proc rw
2 1 0:2 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
3 1 0:1 /sys /proc/sys ro - proc proc rw
4 1 0:3 /null /proc/kcore rw - tmpfs tmpfs rw
";
        assert_eq!(
            covered(&mountinfo::parse(text)),
            ["/proc/sys", "/proc/kcore"]
        );
    }
}
