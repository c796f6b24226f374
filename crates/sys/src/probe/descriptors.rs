//! The calls on processes and file descriptors that the supervisor is made of.
//!
//! `clone3` is `clone(2)`; `pidfd_open(2)`, `pidfd_getfd(2)`, `close_range(2)`, `openat2(2)`.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{Attempt, child};

/// What became of each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// `clone3` made a child (Linux 5.3; Docker's filter answers `ENOSYS`).
    pub clone3: Attempt,
    /// `pidfd_open` of a child (Linux 5.3).
    pub pidfd_open: Attempt,
    /// `pidfd_getfd` of a child's descriptor (Linux 5.6; Yama's scope 3 refuses it).
    pub pidfd_getfd: Attempt,
    /// `close_range` with `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
    pub close_range: Attempt,
    /// `openat2` held a path beneath its folder (Linux 5.6).
    pub openat2: Attempt,
}

/// Tries them on a child's child and on descriptors of its own.
pub fn probe() -> Descriptors {
    let steps = child::attempt::<5>(child::LIMIT, |slots| {
        slots.note(0, clone3());
        slots.note(4, stays_beneath());
        on_a_process(slots);
        slots.note(3, close_on_exec());
    });
    Descriptors {
        clone3: steps.at(0),
        pidfd_open: steps.at(1),
        pidfd_getfd: steps.at(2),
        close_range: steps.at(3),
        openat2: steps.at(4),
    }
}

fn clone3() -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid clone_args; with only an exit signal it asks for a fork.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: the structure is passed with its size. No stack and no CLONE_VM: the child has a
    // copy of everything and leaves at once by _exit, so no state of the C library is used.
    let child = child::checked(unsafe {
        let made = libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        );
        if made == 0 {
            libc::_exit(0);
        }
        made
    })?;
    rustix::process::Pid::from_raw(child).and_then(child::reap);
    Ok(())
}

fn on_a_process(slots: &child::Slots<5>) {
    // The child waits until this end of its pipe is closed, at the latest by our own end.
    let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC) else {
        return;
    };
    let held = reader.as_raw_fd();
    let ours = writer.as_raw_fd();
    let Ok(process) = child::fork(|| {
        // SAFETY: this process has its own copy of the descriptor and never uses `writer`.
        unsafe { libc::close(ours) };
        let _ = rustix::io::read(&reader, &mut [0_u8]);
    }) else {
        return;
    };
    if let Some(pidfd) = slots.note(1, pidfd_open(process, PidfdFlags::empty())) {
        slots.note(2, pidfd_getfd(pidfd, held, PidfdGetfdFlags::empty()));
    }
    child::end(process);
}

fn close_on_exec() -> Result<(), Errno> {
    let file = rustix::io::dup(rustix::stdio::stderr())
        .or_else(|_| pipe_with(PipeFlags::empty()).map(|(reader, _)| reader))?;
    let only = file.as_raw_fd();
    // SAFETY: three integers; the range is one descriptor that this function owns.
    child::checked(unsafe {
        libc::syscall(libc::SYS_close_range, only, only, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    let closes = fcntl_getfd(file.as_fd())?.contains(FdFlags::CLOEXEC);
    closes.then_some(()).ok_or(Errno::OPNOTSUPP)
}

fn stays_beneath() -> Result<(), Errno> {
    let look = |path| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::BENEATH).map(drop)
    };
    rustix::process::chdir("/")?;
    look(".")?;
    match look("..") {
        Err(Errno::XDEV) => Ok(()),
        Err(other) => Err(other),
        Ok(()) => Err(Errno::OPNOTSUPP),
    }
}
