//! Putting a filter in place (seccomp(2)).

use super::{Instruction, Listener};
use crate::{Errno, check};
use rustix::fd::{FromRawFd, OwnedFd};

const SET_MODE_FILTER: libc::c_uint = 1;
const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// Linux 5.19: once the supervisor has read a notification, only a deadly signal interrupts the
/// call; without it a program with a busy timer would make the same connect(2) again and again.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Puts this thread and all that it starts behind the filter, for good. Needs
/// `no_new_privileges`. With `listen`, the calls that the filter wants decided arrive at the
/// returned listener.
pub fn install(instructions: &[Instruction], listen: bool) -> Result<Option<Listener>, Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?;
    let program = Program {
        length,
        instructions: instructions.as_ptr(),
    };
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
