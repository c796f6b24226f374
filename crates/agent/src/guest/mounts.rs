//! What a system has mounted; the root disk and the tools are there already.

use crate::{Error, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::symlink;

struct Mount {
    kind: &'static str,
    place: &'static str,
    flags: MountFlags,
    options: &'static CStr,
    /// A kernel may lack it.
    is_required: bool,
}

const PLAIN: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
const FILES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const fn required(
    kind: &'static str,
    place: &'static str,
    flags: MountFlags,
    options: &'static CStr,
) -> Mount {
    Mount {
        kind,
        place,
        flags,
        options,
        is_required: true,
    }
}

/// In this order: a later one may lie in an earlier one.
const MOUNTS: [Mount; 8] = [
    required("proc", "/proc", PLAIN, c""),
    required("sysfs", "/sys", PLAIN, c""),
    Mount {
        is_required: false,
        ..required("cgroup2", "/sys/fs/cgroup", PLAIN, c"nsdelegate")
    },
    required("devtmpfs", "/dev", DEVICES, c"mode=755"),
    required(
        "devpts",
        "/dev/pts",
        DEVICES,
        c"ptmxmode=666,mode=620,gid=5",
    ),
    required("tmpfs", "/dev/shm", FILES, c"mode=1777"),
    required("tmpfs", "/run", FILES, c"mode=755"),
    required("tmpfs", "/tmp", FILES, c"mode=1777"),
];

/// Names of /dev that programs expect and devtmpfs hasn't.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts everything.
pub(super) fn make() -> Result<()> {
    for each in MOUNTS {
        let done = attach(&each);
        match done {
            Err(errno) if each.is_required => {
                return Err(Error::errno("mount", errno.raw_os_error()).on(each.place));
            }
            _ => {}
        }
    }
    for (name, target) in LINKS {
        // One that is there is as good.
        let _ = symlink(target, name);
    }
    Ok(())
}

fn attach(each: &Mount) -> rustix::io::Result<()> {
    // It may be there; if it could not be made, the mount says so.
    let _ = fs::create_dir(each.place);
    match mount(each.kind, each.place, each.kind, each.flags, each.options) {
        // The kernel mounts devtmpfs itself, if it is built so.
        Err(Errno::BUSY) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_after_what_it_lies_in() {
        for (at, each) in MOUNTS.iter().enumerate() {
            let above = |other: &&Mount| each.place.starts_with(&format!("{}/", other.place));
            assert!(
                !MOUNTS[at..].iter().any(|other| above(&other)),
                "{}",
                each.place
            );
        }
        let places: Vec<_> = MOUNTS.iter().map(|each| each.place).collect();
        assert_eq!(
            places
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            places.len()
        );
    }
}
