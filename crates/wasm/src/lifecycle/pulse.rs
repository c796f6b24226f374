//! How large a worker is, asked from outside: what it says of itself isn't believed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

/// Bytes of /proc/PID/statm, which are seven numbers.
const LONGEST: u64 = 256;

/// One process, and no other that comes to have its process id.
#[derive(Debug, Clone)]
pub struct Pulse {
    pid: i32,
    pidfd: Arc<OwnedFd>,
}

impl Pulse {
    /// Of the process of this id, which `pidfd` stays with (pidfd_open(2)).
    #[must_use]
    pub fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd: Arc::new(pidfd),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its memory, bytes; `None` once it has ended.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let statm = File::open(format!("/proc/{}/statm", self.pid)).ok()?;
        let mut text = String::new();
        statm.take(LONGEST).read_to_string(&mut text).ok()?;
        // As long as it lives, its process id is nobody else's: so these are its numbers.
        self.is_alive().then(|| resident(&text)).flatten()
    }

    fn is_alive(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&now)), Ok(0))
    }
}

/// The second number, in pages (proc_pid_statm(5)).
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_has_memory_until_it_ends() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pulse = Pulse::new(
            pid.as_raw_nonzero().get(),
            pidfd_open(pid, PidfdFlags::empty()).unwrap(),
        );
        let found = pulse.resident().unwrap();
        assert!(found > 0, "{found}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(pulse.resident(), None);
    }

    #[test]
    fn what_is_no_list_of_numbers_is_nothing() {
        assert_eq!(
            resident("9 2 1\n"),
            Some(2 * rustix::param::page_size() as u64)
        );
        for bad in [
            "",
            "9",
            "9 -2",
            "9 99999999999999999999",
            "9 18446744073709551615",
        ] {
            assert_eq!(resident(bad), None, "{bad}");
        }
    }
}
