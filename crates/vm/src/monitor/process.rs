//! A monitor's process, and its end.

use super::fate::Fate;
use super::tail::Tail;
use crate::driver::{Ended, Metrics};
use casemate_core::error::{Error, Result};
use casemate_sys::process::confined::{Confined, reap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
pub(crate) struct Process {
    pid: i32,
    pidfd: OwnedFd,
    ended: watch::Receiver<Option<Ended>>,
    console: Tail,
}

/// See [`Process::grip`].
#[derive(Debug)]
pub(crate) struct Grip(OwnedFd);

impl Grip {
    pub(crate) fn kill(&self) {
        // One that is gone needs no signal.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    /// Whether it has ended (pidfd_open(2)).
    pub(crate) fn has_ended(&self) -> bool {
        let now = Timespec::default();
        let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut ends, Some(&now)).is_ok_and(|count| count > 0)
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// What it is called in errors.
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) folder: &'a Path,
    pub(crate) dies_with_this: bool,
    /// See [`Confined`].
    pub(crate) makes_no_holes: bool,
    /// A pipe in which it complains too.
    pub(crate) log: Option<OwnedFd>,
}

impl Process {
    pub(crate) fn start(start: Start<'_>, fate: Arc<Fate>) -> Result<Self> {
        let Start { name, program, .. } = start;
        let step = format!("start {name}");
        let fail = |error: &std::io::Error| Error::io(&step, error).on(program.display());
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| fail(&errno.into()));
        let ((console, output), (complaints, error)) = (pipe()?, pipe()?);
        let confined = Confined {
            program: program.to_owned(),
            args: start.args,
            folder: start.folder.to_owned(),
            output,
            error,
            descriptors: DESCRIPTORS,
            dies_with_this: start.dies_with_this,
            makes_no_holes: start.makes_no_holes,
        };
        let started = confined.start().map_err(|error| fail(&error))?;
        let watched = started.pidfd.try_clone().map_err(|error| fail(&error))?;
        let complaints = [Some(complaints), start.log];
        let (tell, ended) = watch::channel(None);
        let (says, told) = (Tail::default(), Tail::default());
        let kept = says.clone();
        // It lives as long as the process, which it reaps.
        tokio::spawn(async move {
            let (console, complaints) = ((console, says), (complaints, told));
            tell.send_replace(Some(watch_over(watched, console, complaints, &fate).await));
        });
        Ok(Self {
            pid: started.pid,
            pidfd: started.pidfd,
            ended,
            console: kept,
        })
    }

    /// Something that can end it, whoever has the process.
    pub(crate) fn grip(&self) -> Result<Grip> {
        let pidfd = self.pidfd.try_clone();
        pidfd
            .map(Grip)
            .map_err(|error| Error::io("keep a process in sight", &error))
    }

    /// Waits until it has ended, whoever has the process.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // An error is that nobody watches over it any more.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    pub(crate) fn kill(&self) {
        // One that is gone needs no signal.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    pub(crate) async fn ended(&self) -> Ended {
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

    /// The last lines of the guest's console.
    pub(crate) fn console(&self) -> Vec<String> {
        self.console.lines()
    }

    /// What it uses. Its number is its own as long as nobody has waited for it.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
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

/// What it says, and where that is kept.
type Said<T> = (T, Tail);

async fn watch_over(
    pidfd: OwnedFd,
    (console, says): Said<OwnedFd>,
    (complaints, complains): Said<[Option<OwnedFd>; 2]>,
    fate: &Fate,
) -> Ended {
    let complained = complaints.into_iter().flatten();
    let mut followed: Vec<_> = complained
        .map(|pipe| tokio::spawn(complains.clone().follow(pipe)))
        .collect();
    followed.push(tokio::spawn(says.clone().follow(console)));
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

/// A connection to a socket that a monitor listens at, in the machine's folder.
///
/// Behind a wall, somebody else makes connections for this process, and knows of none of its
/// descriptors: a path that can be short enough is one.
pub(crate) fn connect(folder: &Path, name: &str) -> std::io::Result<OwnedFd> {
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
