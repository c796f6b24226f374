//! Putting a filter in place (seccomp(2)).

use super::{Instruction, Listener};
use crate::{Errno, check};
use rustix::fd::{FromRawFd, OwnedFd};

const SET_MODE_FILTER: libc::c_uint = 1;
const ALL_THREADS: libc::c_ulong = 1;
const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// Linux 5.19: once the supervisor has read a notification, only a deadly signal interrupts the
/// call; without it a program with a busy timer would make the same connect(2) again and again.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

impl Program {
    fn of(instructions: &[Instruction]) -> Result<Self, Errno> {
        Ok(Self {
            length: u16::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?,
            instructions: instructions.as_ptr(),
        })
    }
}

/// Puts every thread of this process behind the filter, for good. Needs `no_new_privileges`.
///
/// # Errors
/// ESRCH, if a thread has a filter that this one hasn't.
pub fn install_on_all_threads(instructions: &[Instruction]) -> Result<(), Errno> {
    let program = Program::of(instructions)?;
    // SAFETY: program points to its instructions for the time of the call.
    let refused = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            ALL_THREADS,
            &raw const program,
        )
    })?;
    // A positive number is the thread that could not be brought along.
    if refused == 0 {
        Ok(())
    } else {
        Err(Errno::SRCH)
    }
}

/// Puts this thread and all that it starts behind the filter, for good. Needs
/// `no_new_privileges`. With `listen`, the calls that the filter wants decided arrive at the
/// returned listener.
pub fn install(instructions: &[Instruction], listen: bool) -> Result<Option<Listener>, Errno> {
    let program = Program::of(instructions)?;
    let set = |flags: libc::c_ulong| {
        // SAFETY: program points to `length` instructions for the time of the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        })
    };
    if !listen {
        set(0)?;
        return Ok(None);
    }
    let fd = match set(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno::INVAL) => set(NEW_LISTENER)?,
        result => result?,
    };
    // SAFETY: the kernel just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    Ok(Some(Listener::from(fd)))
}
