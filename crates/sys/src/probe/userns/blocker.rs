//! What keeps a user from a user namespace: the obstacle's name, its remedy, and the reasoning from
//! an errno and what the machine says about itself.

use std::fmt;

use rustix::io::Errno;

use super::super::{Attempt, errno_name, seccomp};
use super::Ids;

/// What keeps this user from a user namespace that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 23.10 and later).
    AppArmorRestriction,
    /// The caller is confined by this AppArmor profile, such as Docker's `docker-default`.
    AppArmorProfile(String),
    /// `user.max_user_namespaces` is 0, or that many exist (or they nest 32 deep).
    MaxUserNamespaces {
        /// The value of `user.max_user_namespaces`.
        limit: u64,
    },
    /// `kernel.unprivileged_userns_clone` is 0 (Debian before 11, hardened kernels).
    UnprivilegedClone,
    /// A seccomp filter refuses it, as those of Docker and Kubernetes do.
    Seccomp,
    /// The caller's root is not that of its mount namespace: the kernel refuses it to a chroot.
    Chroot,
    /// The caller's user or group has no number in the user namespace that it is in.
    Unmapped,
    /// The kernel was built without user namespaces.
    NotBuilt,
    /// None of the known ones; SELinux and other security modules answer `EACCES`.
    Unknown(Errno),
}

impl Blocker {
    /// What to do about it, as a sentence without its full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AppArmorRestriction => {
                "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or install an \
                 AppArmor profile for casemate that has `userns,`"
            }
            Self::AppArmorProfile(_) => {
                "start the container with --security-opt apparmor=unconfined, or allow `userns` \
                 and `mount` in the profile"
            }
            Self::MaxUserNamespaces { limit: 0 } => {
                "as root: sysctl -w user.max_user_namespaces=15000"
            }
            Self::MaxUserNamespaces { .. } => {
                "as root: raise user.max_user_namespaces, or end what holds namespaces (lsns -t user)"
            }
            Self::UnprivilegedClone => "as root: sysctl -w kernel.unprivileged_userns_clone=1",
            Self::Seccomp => {
                "start the container with --security-opt seccomp=unconfined, or with a profile \
                 that allows unshare, clone, clone3 and mount"
            }
            Self::Chroot => {
                "start casemate outside the chroot, or enter that root with pivot_root \
                 (unshare -m, systemd-nspawn) instead"
            }
            Self::Unmapped => "map this user and group into the surrounding user namespace",
            Self::NotBuilt => "boot a kernel that has CONFIG_USER_NS=y",
            Self::Unknown(_) => {
                "look in the kernel log for a denial (dmesg, ausearch -m avc), and run casemate \
                 outside the container or confinement"
            }
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppArmorRestriction => {
                f.write_str("AppArmor restricts user namespaces of unprivileged users")
            }
            Self::AppArmorProfile(name) => write!(f, "the AppArmor profile {name} refuses it"),
            Self::MaxUserNamespaces { limit: 0 } => f.write_str("user.max_user_namespaces is 0"),
            Self::MaxUserNamespaces { limit } => {
                write!(f, "user.max_user_namespaces ({limit}) is used up")
            }
            Self::UnprivilegedClone => f.write_str("kernel.unprivileged_userns_clone is 0"),
            Self::Seccomp => f.write_str("a seccomp filter around this process refuses it"),
            Self::Chroot => f.write_str("this process runs in a chroot"),
            Self::Unmapped => f.write_str("this user is not mapped in its user namespace"),
            Self::NotBuilt => f.write_str("the kernel has no user namespaces"),
            Self::Unknown(errno) => {
                write!(f, "something answers {}", errno_name(*errno))
            }
        }
    }
}

/// What the machine says about itself, for judging a refusal.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    chroot: bool,
    /// The mode of seccomp that `/proc/self/status` tells; `None` where it can't be read.
    seccomp: Option<u32>,
    unmapped: bool,
    max_user_namespaces: Option<u64>,
    unprivileged_clone: Option<u64>,
    apparmor_restriction: Option<u64>,
    apparmor_profile: Option<String>,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let ids = Ids::own();
        let status = read("/proc/self/status");
        Facts {
            chroot: chrooted(),
            seccomp: seccomp::mode(&status),
            unmapped: !(covers(&read("/proc/self/uid_map"), ids.user)
                && covers(&read("/proc/self/gid_map"), ids.group)),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restriction: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            apparmor_profile: profile(&read("/proc/self/attr/apparmor/current"))
                .or_else(|| profile(&read("/proc/self/attr/current"))),
        }
    }

    /// What explains that `errno` came, at the creation or (if that worked) after it.
    pub(super) fn judge(self, create: Attempt, errno: Errno) -> Blocker {
        let at_create = create != Attempt::Worked;
        match errno {
            Errno::INVAL if at_create => Blocker::NotBuilt,
            Errno::NOSPC | Errno::USERS => Blocker::MaxUserNamespaces {
                limit: self.max_user_namespaces.unwrap_or_default(),
            },
            Errno::PERM if at_create && self.chroot => Blocker::Chroot,
            Errno::PERM if at_create && self.unprivileged_clone == Some(0) => {
                Blocker::UnprivilegedClone
            }
            Errno::PERM if at_create && self.unmapped => Blocker::Unmapped,
            _ => self.confinement(at_create, errno),
        }
    }

    fn filtered(&self) -> bool {
        self.seccomp == Some(2)
    }

    /// Which of AppArmor and seccomp is the likelier: the first answers `EACCES` to a creation
    /// and to a mount, and lets capabilities fail with `EPERM`; the second usually says `EPERM`.
    fn confinement(self, at_create: bool, errno: Errno) -> Blocker {
        let restricted = self.apparmor_restriction == Some(1);
        let apparmor_like = errno == Errno::ACCESS || !at_create;
        match self.apparmor_profile {
            Some(name) if errno == Errno::ACCESS => Blocker::AppArmorProfile(name),
            _ if restricted && (apparmor_like || !self.filtered()) => Blocker::AppArmorRestriction,
            _ if self.filtered() && errno != Errno::ACCESS => Blocker::Seccomp,
            Some(name) => Blocker::AppArmorProfile(name),
            // With no filter, nothing else in the kernel answers EPERM to a creation; a chroot to
            // a mount point in a mount namespace of its own can't be seen in any other way.
            None if at_create && errno == Errno::PERM && self.seccomp == Some(0) => Blocker::Chroot,
            None => Blocker::Unknown(errno),
        }
    }
}

/// True if `/` is not where the mount namespace's tree begins, as far as can be seen.
fn chrooted() -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let seen = statx(CWD, "/", AtFlags::empty(), StatxFlags::BASIC_STATS);
    let inside_a_mount = seen.is_ok_and(|seen| {
        seen.stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
            && !seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    });
    inside_a_mount || elsewhere_than_init()
}

/// True if init's root can be looked at, init shares the mount namespace, and its root differs.
fn elsewhere_than_init() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let root = |pid: &str| {
        let root = std::fs::metadata(format!("/proc/{pid}/root/.")).ok()?;
        Some((root.dev(), root.ino()))
    };
    let shared = namespace("1").is_some() && namespace("1") == namespace("self");
    shared && root("1").is_some() && root("1") != root("self")
}

/// True if the map (`inside outside count` a line) gives this number a meaning.
fn covers(map: &str, id: u32) -> bool {
    // No map to read says nothing.
    map.is_empty() || map.lines().any(|line| in_range(line, id).unwrap_or(false))
}

fn in_range(line: &str, id: u32) -> Option<bool> {
    let mut fields = line.split_ascii_whitespace();
    let first: u64 = fields.next()?.parse().ok()?;
    let count: u64 = fields.nth(1)?.parse().ok()?;
    Some((first..first.saturating_add(count)).contains(&u64::from(id)))
}

/// The name of the AppArmor profile in `/proc/self/attr/current`, such as `docker-default (enforce)`.
fn profile(text: &str) -> Option<String> {
    let text = text.trim_matches(['\0', '\n', ' ']);
    let name = text.strip_suffix(" (enforce)")?;
    Some(name.to_owned())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    read(path).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Attempt = Attempt::Refused(Errno::PERM);

    #[test]
    fn each_usual_blocker_is_named() {
        let facts = Facts::default;
        let judge = |facts: Facts, create, errno| facts.judge(create, errno);
        assert_eq!(
            judge(facts(), Attempt::Refused(Errno::NOSPC), Errno::NOSPC),
            Blocker::MaxUserNamespaces { limit: 0 }
        );
        assert_eq!(
            judge(facts(), Attempt::Refused(Errno::INVAL), Errno::INVAL),
            Blocker::NotBuilt
        );
        let hardened = Facts {
            unprivileged_clone: Some(0),
            ..facts()
        };
        assert_eq!(
            judge(hardened, REFUSED, Errno::PERM),
            Blocker::UnprivilegedClone
        );
        let chroot = Facts {
            chroot: true,
            seccomp: Some(2),
            ..facts()
        };
        assert_eq!(judge(chroot, REFUSED, Errno::PERM), Blocker::Chroot);
        let container = Facts {
            seccomp: Some(2),
            ..facts()
        };
        assert_eq!(judge(container, REFUSED, Errno::PERM), Blocker::Seccomp);
        let unexplained = Facts {
            seccomp: Some(0),
            ..facts()
        };
        assert_eq!(judge(unexplained, REFUSED, Errno::PERM), Blocker::Chroot);
        assert_eq!(
            judge(facts(), REFUSED, Errno::PERM),
            Blocker::Unknown(Errno::PERM)
        );
    }

    #[test]
    fn apparmor_shows_itself_after_the_creation() {
        let ubuntu = Facts {
            apparmor_restriction: Some(1),
            ..Facts::default()
        };
        for errno in [Errno::PERM, Errno::ACCESS] {
            assert_eq!(
                ubuntu.clone().judge(Attempt::Worked, errno),
                Blocker::AppArmorRestriction
            );
        }
        let docker = Facts {
            seccomp: Some(2),
            apparmor_profile: Some("docker-default".to_owned()),
            ..Facts::default()
        };
        assert_eq!(
            docker.clone().judge(Attempt::Worked, Errno::ACCESS),
            Blocker::AppArmorProfile("docker-default".to_owned())
        );
        assert_eq!(docker.judge(REFUSED, Errno::PERM), Blocker::Seccomp);
    }

    #[test]
    fn maps_cover_their_ranges() {
        let map = "         0     100000      65536\n";
        assert!(covers(map, 0));
        assert!(covers(map, 65535));
        assert!(!covers(map, 65536));
        assert!(covers("", 7));
        assert!(covers("0 0 4294967295", 64321));
    }

    #[test]
    fn profiles_that_confine_are_named() {
        assert_eq!(profile("unconfined\n"), None);
        assert_eq!(
            profile("docker-default (enforce)\n").as_deref(),
            Some("docker-default")
        );
        assert_eq!(profile("x (complain)"), None);
        assert_eq!(profile(""), None);
    }
}
