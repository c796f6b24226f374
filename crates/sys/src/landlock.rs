//! Landlock: what a process may do with files, ports and signals, beside what mounts say
//! (landlock(7)).
//!
//! The rights that a domain handles are those of the *running* kernel's ABI: each one that the
//! kernel knows is refused unless a rule grants it. The caller learns the ABI and says in the
//! report what an older kernel leaves open.

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

/// The version of the kernel's Landlock interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi(pub u32);

/// Rights on files below a path; the bits are `LANDLOCK_ACCESS_FS_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRights(u64);

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// All rights of the first version: the thirteen lowest bits.
const FIRST: u64 = (1 << 13) - 1;

impl FileRights {
    /// Read, list and execute.
    pub const READ: Self = Self(EXECUTE | READ_FILE | READ_DIR);
    /// Everything but making device nodes.
    pub const WRITE: Self =
        Self((FIRST | REFER | TRUNCATE | IOCTL_DEV) & !(MAKE_CHAR | MAKE_BLOCK));
    /// Opening what is there for reading, writing and device control, as `/dev` needs.
    pub const DEVICES: Self = Self(READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV);
    /// Reading and writing what is there, as `/proc` needs.
    pub const PROC: Self = Self(EXECUTE | READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE);

    /// The rights that make sense for something that isn't a folder.
    pub const fn for_file(self) -> Self {
        Self(self.0 & (EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV))
    }
}

/// TCP ports that stay usable; each list is enforced only if given (ABI 4).
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports<'a> {
    /// Ports that may be bound.
    pub bind: Option<&'a [u16]>,
    /// Ports that may be connected to.
    pub connect: Option<&'a [u16]>,
}

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 2;
const SCOPE_ABSTRACT_UNIX: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;
const RULE_PATH: libc::c_int = 1;
const RULE_PORT: libc::c_int = 2;

/// `struct landlock_ruleset_attr`, as of ABI 6.
#[repr(C)]
struct RulesetAttr {
    fs: u64,
    net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

impl Abi {
    /// The kernel's version. ENOSYS: not built in; EOPNOTSUPP: built in but not in `lsm=`.
    pub fn current() -> Result<Self, Errno> {
        const VERSION: libc::c_uint = 1;
        let none = std::ptr::null::<RulesetAttr>();
        // SAFETY: with the version flag the kernel takes a null pointer and size 0.
        let version = check(unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION)
        })?;
        Ok(Self(version as u32))
    }

    fn files(self) -> u64 {
        let mut rights = FIRST;
        for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
            if self.0 >= since {
                rights |= right;
            }
        }
        rights
    }

    /// What this version can't restrict that a later one can.
    pub fn gaps(self) -> Vec<&'static str> {
        [
            (2, "renames between folders are always refused"),
            (3, "truncate(2) is held by mounts alone"),
            (4, "TCP ports can't be restricted"),
            (
                5,
                "ioctl(2) on devices is held by the short list of devices alone",
            ),
            (
                6,
                "signals and abstract sockets are held by namespaces alone",
            ),
        ]
        .into_iter()
        .filter(|(since, _)| self.0 < *since)
        .map(|(_, gap)| gap)
        .collect()
    }
}

/// Rules that are being put together.
pub struct Ruleset {
    fd: OwnedFd,
    abi: Abi,
}

impl Ruleset {
    /// Handles every file right of this ABI, signals and abstract sockets if `scoped`, and the
    /// TCP rights for which ports are given.
    pub fn new(abi: Abi, ports: Ports<'_>, scoped: bool) -> Result<Self, Errno> {
        let net = ports.bind.map_or(0, |_| BIND_TCP) | ports.connect.map_or(0, |_| CONNECT_TCP);
        let scopes = if scoped {
            SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL
        } else {
            0
        };
        if abi.0 < 4 && net != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let ruleset = Self::create(abi, abi.files(), net, scopes)?;
        for (allowed, list) in [(BIND_TCP, ports.bind), (CONNECT_TCP, ports.connect)] {
            for port in list.unwrap_or_default() {
                let rule = NetPort {
                    allowed,
                    port: u64::from(*port),
                };
                ruleset.add(RULE_PORT, (&raw const rule).cast())?;
            }
        }
        Ok(ruleset)
    }

    fn create(abi: Abi, fs: u64, net: u64, scoped: u64) -> Result<Self, Errno> {
        let attr = RulesetAttr { fs, net, scoped };
        // An older kernel takes the fields that it knows.
        let size: usize = match abi.0 {
            0..=3 => 8,
            4..=5 => 16,
            _ => 24,
        };
        // SAFETY: attr is initialised and at least size bytes long.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0)
        })?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd, abi })
    }

    /// Rules for company that is to be kept apart from this process: it may neither trace it (by any
    /// domain) nor, from ABI 6 on, signal it. What it may do with files stays as it is: a domain
    /// refuses links and renames between folders unless a rule allows them, and the other right
    /// named here, since one must be, nobody has inside.
    pub fn apart(abi: Abi) -> Result<Self, Errno> {
        let scoped = if abi.0 >= 6 { SCOPE_SIGNAL } else { 0 };
        let ruleset = Self::create(abi, (MAKE_BLOCK | REFER) & abi.files(), 0, scoped)?;
        if abi.0 >= 2 {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let root = rustix::fs::open("/", flags, Mode::empty())?;
            ruleset.allow(root.as_fd(), FileRights(REFER))?;
        }
        Ok(ruleset)
    }

    /// Grants rights below what this descriptor (opened with O_PATH) points to.
    pub fn allow(&self, path: BorrowedFd<'_>, rights: FileRights) -> Result<(), Errno> {
        let rule = PathBeneath {
            allowed: rights.0 & self.abi.files(),
            parent: path.as_raw_fd(),
        };
        self.add(RULE_PATH, (&raw const rule).cast())
    }

    fn add(&self, kind: libc::c_int, rule: *const libc::c_void) -> Result<(), Errno> {
        // SAFETY: the callers pass a rule of this kind.
        check(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                kind,
                rule,
                0,
            )
        })?;
        Ok(())
    }

    /// Puts this thread and all that it starts behind the rules, for good. Needs
    /// `no_new_privileges`.
    pub fn restrict_self(self) -> Result<(), Errno> {
        // SAFETY: takes a descriptor and no flags.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0) })?;
        Ok(())
    }
}
