//! What this machine can enforce, found out by trying it.
//!
//! A version number or a configuration file says what could be; a distribution's patch, a
//! container's filter or a security module decides what is. So each probe makes the attempt that
//! the wall will make, in a forked child (`child`) whose namespaces, mounts, filters and
//! descriptors end with it, and in bounded time. The exception is [`cgroup`], which makes a group
//! and removes it.
//!
//! [`Survey::take`] runs them all, in some 100 ms. A caller that just failed asks the one that
//! explains it, such as [`userns::blocker`]. The caller should be single-threaded: its children
//! allocate memory after the fork, which glibc allows and other C libraries may not.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub(crate) mod child;
mod mountinfo;
mod region;

pub mod cgroup;
pub mod descriptors;
pub mod filesystems;
pub mod kernel;
pub mod kvm;
pub mod landlock;
pub mod namespaces;
pub mod nftables;
pub mod pagemap;
pub mod procfs;
pub mod seccomp;
pub mod unix_diag;
pub mod userfaultfd;
pub mod userns;
pub mod yama;

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It did what it should.
    Worked,
    /// The kernel refused. `EOPNOTSUPP` also stands for a call that succeeded without effect.
    Refused(Errno),
    /// An earlier step failed, or the child was killed or took too long.
    NotReached,
}

impl Attempt {
    /// True if it worked.
    pub fn worked(self) -> bool {
        self == Attempt::Worked
    }

    /// Why it was refused, if it was.
    pub fn errno(self) -> Option<Errno> {
        match self {
            Attempt::Refused(errno) => Some(errno),
            Attempt::Worked | Attempt::NotReached => None,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt::Worked => f.write_str("works"),
            Attempt::Refused(errno) => f.write_str(&errno_name(*errno)),
            Attempt::NotReached => f.write_str("not reached"),
        }
    }
}

/// The symbol of an errno that a probe may meet, such as `EPERM`; others by number.
pub fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::ACCESS => "EACCES",
        Errno::AGAIN => "EAGAIN",
        Errno::BADF => "EBADF",
        Errno::BUSY => "EBUSY",
        Errno::INVAL => "EINVAL",
        Errno::LOOP => "ELOOP",
        Errno::MFILE => "EMFILE",
        Errno::NODEV => "ENODEV",
        Errno::NOENT => "ENOENT",
        Errno::NOEXEC => "ENOEXEC",
        Errno::NOMEM => "ENOMEM",
        Errno::NOSPC => "ENOSPC",
        Errno::NOSYS => "ENOSYS",
        Errno::NOTTY => "ENOTTY",
        Errno::NXIO => "ENXIO",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::PERM => "EPERM",
        Errno::PROTONOSUPPORT => "EPROTONOSUPPORT",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::ROFS => "EROFS",
        Errno::USERS => "EUSERS",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.to_owned()
}

/// Every probe's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Release and machine.
    pub kernel: kernel::Kernel,
    /// User namespaces.
    pub userns: userns::UserNamespace,
    /// The other namespaces, inside a user namespace.
    pub namespaces: namespaces::Namespaces,
    /// A fresh `/proc`.
    pub procfs: procfs::ProcMount,
    /// The mount API on file descriptors.
    pub mount_api: filesystems::MountApi,
    /// A tmpfs with limits.
    pub tmpfs: filesystems::Tmpfs,
    /// An overlay.
    pub overlay: filesystems::Overlay,
    /// Landlock.
    pub landlock: landlock::Landlock,
    /// A seccomp filter.
    pub filter: seccomp::Filter,
    /// The seccomp notifier.
    pub notifier: seccomp::Notifier,
    /// Calls on processes and descriptors.
    pub descriptors: descriptors::Descriptors,
    /// Asking about a Unix socket.
    pub unix_diag: Attempt,
    /// Control groups.
    pub cgroups: cgroup::Cgroups,
    /// nftables in a network namespace of one's own.
    pub nftables: nftables::Nftables,
    /// KVM.
    pub kvm: kvm::Kvm,
    /// userfaultfd.
    pub userfaultfd: userfaultfd::Userfaultfd,
    /// `PAGEMAP_SCAN`.
    pub pagemap_scan: Attempt,
    /// Yama.
    pub yama: yama::Scope,
    /// How long all of it took.
    pub took: Duration,
}

impl Survey {
    /// Runs every probe, one after the other.
    pub fn take() -> Self {
        let begun = Instant::now();
        Survey {
            kernel: kernel::probe(),
            userns: userns::probe(),
            namespaces: namespaces::probe(),
            procfs: procfs::probe(),
            mount_api: filesystems::mount_api(),
            tmpfs: filesystems::tmpfs_limits(),
            overlay: filesystems::overlay(),
            landlock: landlock::probe(),
            filter: seccomp::filter(),
            notifier: seccomp::notifier(),
            descriptors: descriptors::probe(),
            unix_diag: unix_diag::probe(),
            cgroups: cgroup::probe(),
            nftables: nftables::probe(),
            kvm: kvm::probe(),
            userfaultfd: userfaultfd::probe(),
            pagemap_scan: pagemap::probe(),
            yama: yama::probe(),
            took: begun.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests;
