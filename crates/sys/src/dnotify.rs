//! A signal when something appears in a folder (fcntl(2), F_NOTIFY).
//!
//! inotify(7) says more, but closing an inotify descriptor waits for the kernel to be done with
//! it, which takes up to 15 ms: longer than everything else at the end of a short run. Here the
//! signal says only that something changed, many changes become one signal, and the caller looks.

use crate::{Errno, check};
use rustix::fd::{AsRawFd, BorrowedFd};

/// Asks for SIGIO whenever a name is created in or moved into this folder, until it is closed.
pub fn watch(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    // DN_CREATE, DN_RENAME and DN_MULTISHOT of <linux/fcntl.h>.
    const EVENTS: libc::c_int = 0x4 | 0x10 | i32::MIN;
    // SAFETY: takes a descriptor and a bit set.
    check(unsafe { libc::fcntl(folder.as_raw_fd(), libc::F_NOTIFY, EVENTS) }.into())?;
    Ok(())
}

/// Asks for a signal to the calling thread whenever something in this folder is made, written to,
/// moved or removed, until the folder is closed. A thread that has ended gets none.
///
/// Signals that can't be queued become SIGIO (fcntl(2), F_SETSIG), so block that as well.
pub fn tell_thread(folder: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    /// struct f_owner_ex of <linux/fcntl.h>.
    #[repr(C)]
    struct Owner {
        kind: libc::c_int,
        id: libc::pid_t,
    }
    const SET_OWNER: libc::c_int = 15;
    const SET_SIGNAL: libc::c_int = 10;
    // DN_MODIFY, DN_CREATE, DN_DELETE, DN_RENAME, DN_ATTRIB and DN_MULTISHOT.
    const EVENTS: libc::c_int = 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | i32::MIN;
    let owner = Owner {
        // F_OWNER_TID.
        kind: 0,
        id: rustix::thread::gettid().as_raw_nonzero().get(),
    };
    let fd = folder.as_raw_fd();
    // SAFETY: the first takes a structure that it only reads, the others numbers.
    unsafe {
        check(libc::fcntl(fd, SET_OWNER, &raw const owner).into())?;
        check(libc::fcntl(fd, SET_SIGNAL, signal).into())?;
        check(libc::fcntl(fd, libc::F_NOTIFY, EVENTS).into())?;
    }
    Ok(())
}
