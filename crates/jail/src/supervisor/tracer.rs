//! Who may hold up others at their end.
//!
//! With PTRACE_O_TRACEEXIT (ptrace(2)) a process that was killed stops once more, with all of its
//! memory, until its tracer lets it go; no other signal reaches it. Two that trace each other in this
//! way wait for each other for ever: then the end of their pid namespace never comes either, and
//! nobody on the machine can end them. A circle takes two such tracers, so a sandbox has one at a
//! time, and the next one only when that has ended and has let go of all that it traced.

use crate::callers::leader;
use casemate_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The process that may, and what tells of its end.
#[derive(Default)]
pub(super) struct ExitTracer(Option<(Pid, OwnedFd)>);

impl ExitTracer {
    /// Lets the process of this thread be the one, if nobody else is. The thread waits in its call,
    /// as is asked at the last moment.
    pub(super) fn admit(&mut self, thread: u32, waits: impl FnOnce() -> bool) -> Result<(), Errno> {
        let process = leader(thread).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(process, PidfdFlags::empty())?;
        if !waits() {
            return Err(Errno::SRCH);
        }
        match &self.0 {
            Some((own, end)) if !has_ended(end) => match *own == process {
                true => Ok(()),
                false => Err(Errno::PERM),
            },
            _ => {
                self.0 = Some((process, pidfd));
                Ok(())
            }
        }
    }
}

/// A pidfd is readable once all threads of its process have ended (pidfd_open(2)). If that can't be
/// learnt, it hasn't.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut ends = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
