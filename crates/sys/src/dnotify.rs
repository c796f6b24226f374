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
