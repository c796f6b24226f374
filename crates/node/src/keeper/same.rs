//! A process that can be told from a later one with the same id.

use casemate_core::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process of one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// When it started, in ticks since the boot (field 22 of /proc/pid/stat, proc(5)).
    started: u64,
    /// /proc/sys/kernel/random/boot_id.
    boot: String,
}

impl Process {
    /// This process.
    pub(crate) fn own() -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self::now(pid)
            .ok_or_else(|| Error::rule("find out which process this is", "/proc doesn't say"))
    }

    /// Whoever has this id now.
    fn now(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = text.get(text.rfind(')')? + 2..)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            pid,
            started: fields.split_whitespace().nth(19)?.parse().ok()?,
            boot: boot.trim().to_owned(),
        })
    }

    /// Takes hold of it, if it is still the same one.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        // Who has the id now keeps it while the descriptor is the same one's.
        (Self::now(self.pid).as_ref() == Some(self)).then_some(pidfd)
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn a_later_process_with_the_same_id_is_another_one() {
        let own = Process::own().expect("this process");
        assert!(own.open().is_some());
        for other in [
            Process {
                started: own.started + 1,
                ..own.clone()
            },
            Process {
                boot: "another".into(),
                ..own.clone()
            },
            Process {
                pid: i32::MAX,
                ..own
            },
        ] {
            assert!(other.open().is_none(), "{other:?}");
        }
    }
}
