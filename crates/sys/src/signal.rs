//! Signals as file descriptors (signalfd(2)).

use crate::{Errno, check};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A signal that nothing else in this program uses.
pub fn spare() -> i32 {
    libc::SIGRTMIN() + 3
}

/// SIGIO: what becomes of queued signals that found no place.
pub const OVERFLOW: i32 = libc::SIGIO;

/// Blocked signals that are read instead of handled.
pub struct Signals {
    fd: OwnedFd,
    before: libc::sigset_t,
}

/// One signal that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its number (signal(7)).
    pub number: i32,
    /// True if the kernel sent it, as a terminal does on Ctrl-C; false if a process did.
    pub from_kernel: bool,
}

impl Signals {
    /// Blocks these signals and opens a descriptor that reads them, non-blocking.
    pub fn block(numbers: &[i32]) -> Result<Self, Errno> {
        let set = set_of(numbers);
        let mut before = set_of(&[]);
        // SAFETY: both sets are initialised; sigprocmask writes the second.
        let result = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        check(result.into())?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: makes a new descriptor from an initialised set.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) }.into())?;
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd, before })
    }

    /// The next signal that waits, if any.
    pub fn next(&self) -> Option<Arrival> {
        // SAFETY: an all-zero signalfd_siginfo is valid; read fills at most its size.
        unsafe {
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            let read = libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size);
            (read == size as isize).then_some(Arrival {
                number: info.ssi_signo as i32,
                from_kernel: info.ssi_code > 0,
            })
        }
    }

    /// The signal mask from before, for a program that is about to be executed.
    pub fn restore_mask(&self) {
        // SAFETY: before was filled by the kernel.
        unsafe {
            libc::sigprocmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}

impl rustix::fd::AsFd for Signals {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives SIGPIPE its default action back, which the Rust runtime took away and an executed
/// program expects; handlers are gone with execve(2) anyway.
pub fn reset_broken_pipe() {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Lets this process and its children wait for theirs: a caller that ignores SIGCHLD would have
/// the kernel reap them first (wait(2)).
pub fn wait_for_children() {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Stops this process the way a terminal does; returns when it is continued.
pub fn stop_self() {
    // SAFETY: raise takes any signal number.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn set_of(numbers: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for number in numbers {
            libc::sigaddset(&raw mut set, *number);
        }
        set
    }
}

/// Sends a signal to a process, or to a process group if the id is negative (kill(2)); one that
/// is gone needs none.
pub fn send(pid: i32, number: i32) {
    // SAFETY: kill takes any numbers.
    unsafe { libc::kill(pid, number) };
}
