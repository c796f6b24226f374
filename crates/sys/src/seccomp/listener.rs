//! The supervisor's end of user notification (seccomp_unotify(2)).
//!
//! Nothing here ever lets a call continue on its own: the arguments are in memory that another
//! thread of the program may change after it was looked at. A call is answered by a result, and
//! if something is to be done, the supervisor does it.

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Notification {
    /// Names this call until it is answered.
    pub id: u64,
    /// The thread that made it, in the supervisor's pid namespace.
    pub pid: u32,
    flags: u32,
    /// The call.
    pub call: Request,
}

/// `struct seccomp_data`: a system call as the filter sees it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// The call's number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const RECV: libc::Ioctl = 0xc050_2100;
const SEND: libc::Ioctl = 0xc018_2101;
const ID_VALID: libc::Ioctl = 0x4008_2102;
const SET_FLAGS: libc::Ioctl = 0x4008_2104;

/// Reads calls and answers them.
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Asks the kernel to run the answered thread on the same CPU at once (Linux 6.6), which
    /// makes an answer three times as fast. An older kernel says no, which is fine.
    pub fn wake_synchronously(&self) {
        // SAFETY: takes a number in place of a pointer.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SET_FLAGS, 1u64) };
    }

    /// The next call; `None` if the thread was killed before it could be read.
    pub fn receive(&self) -> Result<Option<Notification>, Errno> {
        let mut notification = Notification::default();
        // SAFETY: notification is a zeroed seccomp_notif, as the kernel wants it.
        match check(unsafe { libc::ioctl(self.0.as_raw_fd(), RECV, &raw mut notification) }.into())
        {
            Ok(_) => Ok(Some(notification)),
            Err(Errno::NOENT | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// True if the call still waits for an answer, and so its pid still names its thread.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID, &raw const id) }.into()).is_ok()
    }

    /// Answers a call with a result. A thread that was killed meanwhile needs no answer.
    pub fn answer(&self, id: u64, result: Result<i64, Errno>) {
        let response = match result {
            Ok(value) => Response {
                id,
                value,
                error: 0,
                flags: 0,
            },
            Err(errno) => Response {
                id,
                value: 0,
                error: -errno.raw_os_error(),
                flags: 0,
            },
        };
        // SAFETY: response is a whole seccomp_notif_resp.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const response) };
    }
}
