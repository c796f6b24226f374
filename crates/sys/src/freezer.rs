//! Stopping everything in a version 2 cgroup at once (cgroups(7), "Freezing").
//!
//! Unlike a stop signal, nothing inside sees it, and nothing inside can end it.

use crate::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use std::time::{Duration, Instant};

/// What stops the processes of one cgroup.
pub struct Freezer(OwnedFd);

impl Freezer {
    /// That of the cgroup with this folder.
    pub fn of(folder: OwnedFd) -> Self {
        Self(folder)
    }

    /// Stops everything. False if something is still on its way out of the kernel after so long; it
    /// stops when it comes out.
    ///
    /// # Errors
    /// The kernel is older than 5.2, or the folder is gone.
    pub fn freeze(&self, patience: Duration) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let events = openat(&self.0, "cgroup.events", flags, Mode::empty())?;
        self.write(b"1")?;
        let since = Instant::now();
        loop {
            let mut text = [0; 256];
            let length = rustix::io::pread(&events, &mut text, 0)?;
            if text[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"frozen 1")
            {
                return Ok(true);
            }
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            // The file says by POLLPRI that it has changed since it was read.
            let mut fds = [PollFd::new(&events, PollFlags::PRI)];
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Continues it.
    ///
    /// # Errors
    /// The folder is gone.
    pub fn thaw(&self) -> Result<(), Errno> {
        self.write(b"0")
    }

    fn write(&self, text: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(self.0.as_fd(), "cgroup.freeze", flags, Mode::empty())?;
        rustix::io::write(&file, text).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Freezer;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A mount of cgroup version 2 that only this process sees, if there can be one.
    fn mounted(at: &Path) -> Option<(Running, PathBuf)> {
        let script = "mount -t cgroup2 none \"$0\" && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = String::new();
        let out = holder.stdout.take()?;
        let holder = Running(holder);
        BufReader::new(out).read_line(&mut said).ok()?;
        let root = format!("/proc/{}/root", holder.0.id());
        let folder = Path::new(&root).join(at.strip_prefix("/").ok()?);
        (said == "ready\n").then_some((holder, folder))
    }

    /// Clock ticks that a process has used.
    fn used(pid: u32) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let time = fields
            .skip(11)
            .take(2)
            .map(|time| time.parse::<u64>().unwrap());
        time.sum()
    }

    #[test]
    fn what_is_frozen_does_nothing_until_it_is_thawed() {
        let at = std::env::temp_dir().join(format!("casemate-freezer-{}", std::process::id()));
        fs::create_dir(&at).unwrap();
        let Some((holder, mount)) = mounted(&at) else {
            eprintln!("skipped: only root mounts cgroups");
            return fs::remove_dir(&at).unwrap();
        };
        let folder = mount.join(format!("casemate-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let busy = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn();
        let busy = Running(busy.unwrap());
        let pid = busy.0.id();
        fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
        let freezer = Freezer::of(fs::File::open(&folder).unwrap().into());
        assert_eq!(freezer.freeze(Duration::from_secs(10)), Ok(true));
        let (before, machine) = (used(pid), used(std::process::id()));
        while used(std::process::id()) < machine + 5 {}
        assert_eq!(used(pid), before);
        freezer.thaw().unwrap();
        while used(pid) == before {
            std::thread::yield_now();
        }
        drop(busy);
        fs::remove_dir(&folder).unwrap();
        drop(holder);
        fs::remove_dir(&at).unwrap();
    }
}
