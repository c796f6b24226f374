//! The layers of the process wall, by the names that flags, errors and reports use.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A part of the wall that a machine may lack.
///
/// A missing layer is an error. `--allow-missing NAME` accepts running without it, and the
/// report then lists it as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Landlock, the second wall around files (landlock(7)).
    Landlock,
    /// Seccomp user notification, which makes Unix sockets of the inside usable and refused
    /// system calls countable (seccomp_unotify(2)).
    SeccompNotify,
    /// The time namespace, which hides the host's uptime (time_namespaces(7)).
    TimeNamespace,
    /// The cgroup namespace, which hides the host's cgroup names (cgroup_namespaces(7)).
    CgroupNamespace,
    /// A CPU limit.
    CpuLimit,
    /// A process limit that the kernel itself holds for the whole tree.
    PidsLimit,
    /// A quota on writable host folders.
    DiskQuota,
}

impl Layer {
    /// Every layer, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Landlock,
        Self::SeccompNotify,
        Self::TimeNamespace,
        Self::CgroupNamespace,
        Self::CpuLimit,
        Self::PidsLimit,
        Self::DiskQuota,
    ];

    /// The name that `--allow-missing` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::SeccompNotify => "seccomp-notify",
            Self::TimeNamespace => "time-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::CpuLimit => "cpu-limit",
            Self::PidsLimit => "pids-limit",
            Self::DiskQuota => "disk-quota",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|layer| layer.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|layer| layer.name()).collect();
                format!("no such layer; the layers are {}", names.join(", "))
            })
    }
}
