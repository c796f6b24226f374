//! The keeper: the process that one sandbox belongs to.
//!
//! It is the wall's supervisor with a door: it starts the sandbox with the agent as its program,
//! decides on connections, and answers what is asked at `control.sock`. If it dies, the kernel ends
//! the sandbox; if the daemon dies, nothing happens to either.
//!
//! - [`launch`]: what it was told, and the specification that becomes of it
//! - [`wire`]: what is asked, and what is answered
//! - [`door`]: who asks, and who answers
//! - [`same`]: how a process is found again that may have ended meanwhile

mod door;
pub(crate) mod launch;
pub(crate) mod same;
pub(crate) mod wire;

pub use launch::{Accelerator, Launch, Machine};

use crate::folder::{AGENT, CONTROL, Folder, KEEPER, LAUNCH};
use casemate_core::error::{Error, Result};
use casemate_core::exit::Outcome;
use casemate_core::sandbox::Outward;
use casemate_core::spec::SandboxSpec;
use casemate_jail::Plan;
use casemate_jail::gate::Gate;
use casemate_jail::layers::skeleton;
use casemate_jail::stay::{Given, Stay, remote};
use casemate_sys::channel::{self, Listener};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Puts another wish in force.
pub type Restrict = Arc<dyn Fn(&Outward) -> Result<()> + Send + Sync>;

/// What a keeper says when its sandbox is up.
pub(crate) const READY: &[u8] = b"ready\n";

/// Who decides where a sandbox connects to, and how that is changed.
pub struct Outgoing {
    /// Decides.
    pub gate: Box<dyn Gate>,
    /// Puts another wish in force.
    pub restrict: Restrict,
}

/// Keeps the sandbox of a folder until it ends. Says on standard output when it is up.
///
/// # Errors
/// It can't be started as it was wished.
pub fn keep(
    path: &Path,
    outgoing: impl FnOnce(&Launch, &mut SandboxSpec) -> Result<Outgoing>,
) -> Result<()> {
    let folder = Folder::at(path);
    let launch: Launch = folder.read(LAUNCH)?;
    match launch.attached {
        true => attach()?,
        false => detach()?,
    }
    // As long as this process lives, nobody removes what lies below its sandbox.
    let skeleton = launch.skeleton.as_deref().map(skeleton::hold);
    let _skeleton = skeleton.transpose()?;
    let place = folder.open()?;
    let fail = |step: &'static str| {
        move |errno: rustix::io::Errno| Error::errno(step, errno.raw_os_error())
    };
    let listener =
        channel::listen_for_streams(place.as_fd(), AGENT).map_err(fail("listen for the agent"))?;
    let control = Listener::bind(place.as_fd(), CONTROL).map_err(fail("listen for the daemon"))?;
    let program = rustix::fs::open(
        "/proc/self/exe",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(fail("open this program"))?;
    let mut spec = launch.specification(listener.as_raw_fd());
    let Outgoing { mut gate, restrict } = outgoing(&launch, &mut spec)?;
    let plan = Plan::new(spec).map_err(|failure| failure.error)?;
    let (remote, requests) = remote()?;
    let standing = folder.clone();
    let mut pipe = take_pipe()?;
    let started = Box::new(move || {
        standing.write(KEEPER, &same::Process::own()?)?;
        door::open(control, door::Answering::new(remote, restrict))?;
        // A daemon that died meanwhile finds the sandbox again.
        let _ = pipe.write_all(READY);
        drop(pipe);
        Ok(())
    });
    let stay = Stay {
        agent: Given {
            program,
            kept: listener,
        },
        requests,
        started: Some(started),
    };
    let finished = casemate_jail::run_staying(&plan, Some(&mut *gate), stay)
        .map_err(|failure| failure.error)?;
    for remark in &finished.remarks {
        eprintln!("{remark}");
    }
    if !matches!(finished.outcome, Outcome::Exited { status: 0 }) {
        eprintln!("the agent ended: {:?}", finished.outcome);
    }
    Ok(())
}

/// Dies with whoever started it.
fn attach() -> Result<()> {
    let fail =
        |errno: rustix::io::Errno| Error::errno("stay with who started this", errno.raw_os_error());
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(fail)?;
    match rustix::process::getppid() == parent {
        true => Ok(()),
        false => Err(Error::rule("stay with who started this", "it has ended")),
    }
}

/// Leaves the daemon's session and working folder: whatever ends those doesn't end this.
fn detach() -> Result<()> {
    let fail =
        |errno: rustix::io::Errno| Error::errno("leave the daemon's session", errno.raw_os_error());
    rustix::process::setsid().map_err(fail)?;
    rustix::process::chdir("/").map_err(fail)
}

/// Takes the pipe on which the daemon waits out of the way: what the agent has to say goes where
/// this process's own words do.
fn take_pipe() -> Result<File> {
    let fail =
        |errno: rustix::io::Errno| Error::errno("take the daemon's pipe", errno.raw_os_error());
    let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(fail)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map_err(fail)?;
    Ok(pipe.into())
}
