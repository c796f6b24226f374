//! A fork, and what is between the new process and the controller.

use crate::wire::Connection;
use casemate_sys::Errno;
use casemate_sys::process::{self, Clone, namespace};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// What is kept of a worker's words while nobody reads them, bytes.
const STDERR: usize = 16 << 10;

/// A process that was forked, as it is handed out.
pub(super) struct Forked {
    /// In the keeper's namespace.
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// A child's ends of what it has with the controller.
pub(super) struct Ends {
    pub(super) control: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Forks a process into a pid namespace of its own; it can neither see nor name any other.
pub(super) fn fork(live: impl FnOnce(Ends)) -> Result<Forked, Errno> {
    let (socket, control) = Connection::sockets()?;
    let (stderr, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Somebody who doesn't read holds up nobody, and keeps little.
    rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
    let _ = fcntl_setpipe_size(&write, STDERR);
    match process::clone(namespace::PID, None)? {
        Clone::Child => {
            live(Ends {
                control,
                stderr: write,
            });
            process::exit_now(super::UNREADY)
        }
        Clone::Parent(child) => Ok(Forked {
            pid: child.pid,
            pidfd: child.pidfd,
            socket,
            stderr,
        }),
    }
}
