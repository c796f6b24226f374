//! QEMU's process, and its end.

use super::fate::Fate;
use super::tail::Tail;
use crate::driver::{Ended, Metrics};
use casemate_core::error::{Error, Result};
use casemate_sys::process::confined::{Confined, reap};
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// How many descriptors it may have: disks, sockets, and as many again of the library's.
const DESCRIPTORS: u64 = 1024;

/// How long its last words may take when it is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// It. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pidfd: OwnedFd,
    ended: watch::Receiver<Option<Ended>>,
}

impl Process {
    pub(super) fn start(
        program: &Path,
        args: Vec<OsString>,
        folder: &Path,
        dies_with_this: bool,
        fate: Arc<Fate>,
    ) -> Result<Self> {
        let fail = |error: &std::io::Error| Error::io("start QEMU", error).on(program.display());
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| fail(&errno.into()));
        let ((console, output), (complaints, error)) = (pipe()?, pipe()?);
        let confined = Confined {
            program: program.to_owned(),
            args,
            folder: folder.to_owned(),
            output,
            error,
            descriptors: DESCRIPTORS,
            dies_with_this,
        };
        let started = confined.start().map_err(|error| fail(&error))?;
        let watched = started.pidfd.try_clone().map_err(|error| fail(&error))?;
        let (tell, ended) = watch::channel(None);
        // It lives as long as the process, which it reaps.
        tokio::spawn(async move {
            tell.send_replace(Some(watch_over(watched, console, complaints, &fate).await));
        });
        Ok(Self {
            pid: started.pid,
            pidfd: started.pidfd,
            ended,
        })
    }

    pub(super) fn kill(&self) {
        // One that is gone needs no signal.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended, if it has.
    pub(super) fn has_ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let lost = |why: &str| Ended {
            how: crate::driver::How::Lost(why.to_owned()),
            console: Vec::new(),
            monitor: Vec::new(),
        };
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(|| lost("it isn't known")),
            Err(_) => lost("nobody watches over it"),
        }
    }

    /// What it uses. Its number is its own as long as nobody has waited for it.
    pub(super) fn metrics(&self) -> Result<Metrics> {
        let path = format!("/proc/{}/stat", self.pid);
        let gone = || Error::rule("read what a machine uses", "it has ended");
        let stat = std::fs::read_to_string(path).map_err(|_| gone())?;
        if self.has_ended().is_some() {
            return Err(gone());
        }
        metrics(&stat).ok_or_else(gone)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// From proc_pid_stat(5): after the name, which may hold anything, fields 3 and on.
fn metrics(stat: &str) -> Option<Metrics> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Metrics {
        resident: field(24)? * rustix::param::page_size() as u64,
        processor: Duration::from_millis(ticks * 1000 / per_second),
    })
}

async fn watch_over(pidfd: OwnedFd, console: OwnedFd, complaints: OwnedFd, fate: &Fate) -> Ended {
    let (says, complains) = (Tail::default(), Tail::default());
    let followed = [
        tokio::spawn(says.clone().follow(console)),
        tokio::spawn(complains.clone().follow(complaints)),
    ];
    let status = wait(pidfd).await;
    for mut follow in followed {
        if tokio::time::timeout(LAST_WORDS, &mut follow).await.is_err() {
            follow.abort();
        }
    }
    let console = says.lines();
    Ended {
        how: fate.ended(status, &console),
        console,
        monitor: complains.lines(),
    }
}

async fn wait(pidfd: OwnedFd) -> Option<std::result::Result<i32, i32>> {
    #[expect(
        deprecated,
        reason = "the other one is unsafe, for owners that close what they lend"
    )]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE).ok()?;
    loop {
        let mut ready = pidfd.readable().await.ok()?;
        match reap(pidfd.get_ref()) {
            Ok(status) => return Some(status),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => ready.clear_ready(),
            Err(_) => return None,
        }
    }
}

/// The longest path of a socket, bytes (unix(7)).
const LONGEST: usize = 107;

/// A connection to a socket that QEMU listens at, in the machine's folder.
///
/// Behind a wall, somebody else makes connections for this process, and knows of none of its
/// descriptors: a path that can be short enough is one.
pub(super) fn connect(folder: &Path, name: &str) -> std::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    let path = folder.join(name);
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(&path);
    if path.as_os_str().len() <= LONGEST {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        return Ok(stream.into());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty())?;
    Ok(casemate_sys::channel::connect_stream(folder.as_fd(), name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_uses_is_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 9 1000 3 18446744073709551615";
        let metrics = metrics(stat).expect("it is one");
        assert_eq!(metrics.resident, 3 * rustix::param::page_size() as u64);
        let hertz = rustix::param::clock_ticks_per_second();
        assert_eq!(metrics.processor, Duration::from_millis(300_000 / hertz));
    }
}
