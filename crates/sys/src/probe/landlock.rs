//! Landlock: which ABI, and does a rule set hold? `landlock(7)`.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::{Attempt, child};

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;
/// `LANDLOCK_ACCESS_FS_READ_DIR` of linux/landlock.h.
const READ_DIR: u64 = 1 << 3;

/// What each ABI added that the wall uses.
pub const RIGHTS: [(u32, &str); 7] = [
    (1, "file rights"),
    (2, "refer (rename and link across folders)"),
    (3, "truncate"),
    (4, "TCP bind and connect"),
    (5, "ioctl on devices"),
    (6, "scopes (abstract Unix sockets, signals)"),
    (7, "audit flags"),
];

/// Whether Landlock is there and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landlock {
    /// The ABI that the kernel speaks, from 1.
    pub abi: Result<u32, Absence>,
    /// A rule set was put on a child and stopped it from opening a folder.
    pub holds: Attempt,
}

impl Landlock {
    /// What the wall uses and this ABI lacks, in the words of [`RIGHTS`].
    pub fn lacks(&self) -> impl Iterator<Item = &'static str> + use<> {
        lacks(self.abi.unwrap_or(0))
    }
}

/// Why there is no Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// `ENOSYS`: not built into this kernel (or hidden by a seccomp filter).
    NotBuilt,
    /// `EOPNOTSUPP`: built, but not among the security modules chosen at boot (`lsm=`).
    Disabled,
    /// Anything else, such as the `EPERM` of a container's seccomp filter.
    Refused(Errno),
    /// The attempt was cut short.
    Unknown,
}

/// Asks for the ABI, then restricts a child and watches it being refused.
pub fn probe() -> Landlock {
    let steps = child::attempt::<2>(child::LIMIT, |slots| {
        match create(None, VERSION) {
            Ok(abi) => slots.value(0, abi),
            Err(errno) => return slots.refuse(0, errno),
        }
        slots.note(1, holds());
    });
    Landlock {
        abi: abi(steps.at(0), steps.found(0)),
        holds: steps.at(1),
    }
}

fn abi(attempt: Attempt, found: Option<i32>) -> Result<u32, Absence> {
    let found = found.and_then(|abi| u32::try_from(abi).ok());
    found.ok_or(match attempt {
        Attempt::Refused(Errno::NOSYS) => Absence::NotBuilt,
        Attempt::Refused(Errno::OPNOTSUPP) => Absence::Disabled,
        Attempt::Refused(errno) => Absence::Refused(errno),
        Attempt::Worked | Attempt::NotReached => Absence::Unknown,
    })
}

fn lacks(abi: u32) -> impl Iterator<Item = &'static str> {
    let newer = RIGHTS.into_iter().filter(move |(since, _)| *since > abi);
    newer.map(|(_, right)| right)
}

/// `landlock_create_ruleset(2)`; returns a file descriptor, or the ABI for [`VERSION`].
fn create(handled_access_fs: Option<u64>, flags: u32) -> Result<i32, Errno> {
    // The kernel takes the structure at the size of its first ABI: one u64.
    let (at, size) = match &handled_access_fs {
        Some(rights) => (std::ptr::from_ref(rights), size_of::<u64>()),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: `at` is null with size 0, or points to `size` readable bytes that live on.
    child::checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, at, size, flags) })
}

fn holds() -> Result<(), Errno> {
    open_root()?;
    let rules = create(Some(READ_DIR), 0)?;
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: two integers; the restriction falls on this forked child alone.
    child::checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) })?;
    match open_root() {
        Err(Errno::ACCESS) => Ok(()),
        Err(other) => Err(other),
        Ok(()) => Err(Errno::OPNOTSUPP),
    }
}

fn open_root() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open("/", flags, Mode::empty()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absences_are_told_apart() {
        let refused = |errno| abi(Attempt::Refused(errno), None);
        assert_eq!(refused(Errno::NOSYS), Err(Absence::NotBuilt));
        assert_eq!(refused(Errno::OPNOTSUPP), Err(Absence::Disabled));
        assert_eq!(refused(Errno::PERM), Err(Absence::Refused(Errno::PERM)));
        assert_eq!(abi(Attempt::NotReached, None), Err(Absence::Unknown));
        assert_eq!(abi(Attempt::Worked, Some(4)), Ok(4));
    }

    #[test]
    fn an_old_abi_lacks_what_came_later() {
        assert_eq!(lacks(0).count(), RIGHTS.len());
        let of_6_1: Vec<_> = lacks(2).collect();
        assert_eq!(of_6_1[0], "truncate");
        assert_eq!(of_6_1.len(), 5);
        assert_eq!(lacks(7).count(), 0);
        assert_eq!(lacks(99).count(), 0);
    }
}
