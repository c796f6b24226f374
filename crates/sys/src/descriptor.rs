//! Descriptors that the program which started this one left open for it.

use crate::Errno;
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes over an inherited descriptor, and makes it close-on-exec.
///
/// EBADF if it isn't open or is a standard stream; EALREADY on a second call: two owners of one
/// number would close each other's file. For the start of `main`, before anything else opens
/// files.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if number <= 2 {
        return Err(Errno::BADF);
    }
    // SAFETY: borrowed for this call alone, which fails on a number that isn't open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Errno::ALREADY);
    }
    // SAFETY: it is open, came from outside, and this is the only call that gets here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Moves a descriptor to a number that a program of ours expects, close-on-exec or not (dup3(2)). What
/// was there is closed, whoever owned it: for a process that has just been made and uses nothing of
/// what it inherited but what it names.
pub fn place(source: OwnedFd, number: RawFd, close_on_exec: bool) -> Result<OwnedFd, Errno> {
    use rustix::fd::AsRawFd;
    if source.as_raw_fd() == number {
        let flags = match close_on_exec {
            true => rustix::io::FdFlags::CLOEXEC,
            false => rustix::io::FdFlags::empty(),
        };
        rustix::io::fcntl_setfd(&source, flags)?;
        return Ok(source);
    }
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the caller has no owner of what was at that number, and takes what is there now.
    unsafe {
        crate::check(libc::dup3(source.as_raw_fd(), number, flags).into())?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Takes over what a process of ours put at a number before it became this program, and makes it
/// close-on-exec. EBADF if it isn't open.
///
/// For the start of `main`, once for each number, before anything else opens files.
pub fn placed(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: borrowed for this call alone, which fails on a number that isn't open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open and nobody else's: whoever put it there is gone with its memory.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::IntoRawFd;

    #[test]
    fn one_open_descriptor_is_taken_once() {
        assert_eq!(inherited(2).unwrap_err(), Errno::BADF);
        assert_eq!(inherited(-1).unwrap_err(), Errno::BADF);
        assert_eq!(inherited(1_000_000).unwrap_err(), Errno::BADF);
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let owned = inherited(read.into_raw_fd()).unwrap();
        let flags = rustix::io::fcntl_getfd(&owned).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let (other, _write) = rustix::pipe::pipe().unwrap();
        assert_eq!(inherited(other.into_raw_fd()).unwrap_err(), Errno::ALREADY);
    }

    #[test]
    fn a_descriptor_is_moved_over_another_or_stays() {
        use rustix::fd::AsRawFd;
        let (read, write) = rustix::pipe::pipe().unwrap();
        let number = rustix::io::dup(&read).unwrap().into_raw_fd();
        let moved = place(read, number, true).unwrap();
        assert_eq!(moved.as_raw_fd(), number);
        let flags = rustix::io::fcntl_getfd(&moved).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let same = place(moved, number, false).unwrap();
        assert_eq!(same.as_raw_fd(), number);
        assert!(rustix::io::fcntl_getfd(&same).unwrap().is_empty());
        // It is the only reader.
        drop(same);
        assert_eq!(rustix::io::write(&write, b"x"), Err(Errno::PIPE));
    }
}
