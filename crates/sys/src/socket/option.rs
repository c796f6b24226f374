//! Socket options (getsockopt(2)) that no library has a name for.

use crate::{Errno, check};
use rustix::fd::{AsRawFd, BorrowedFd};

/// An option whose value is a number.
pub(crate) fn number(socket: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32, Errno> {
    let mut value = [0; 4];
    bytes(socket, level, name, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// Sets such an option.
pub(crate) fn set_number(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: i32,
) -> Result<(), Errno> {
    set_bytes(socket, level, name, &value.to_ne_bytes())
}

/// An option as bytes; their number comes back, at most that of `value`.
pub(crate) fn bytes(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let (fd, to) = (socket.as_raw_fd(), value.as_mut_ptr());
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most length bytes to value, and how many to length.
    let result = unsafe { libc::getsockopt(fd, level, name, to.cast(), &raw mut length) };
    check(result.into())?;
    Ok(length as usize)
}

/// Sets an option to bytes.
pub(crate) fn set_bytes(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let (fd, from) = (socket.as_raw_fd(), value.as_ptr().cast());
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads length bytes of value.
    check(unsafe { libc::setsockopt(fd, level, name, from, length) }.into())?;
    Ok(())
}
