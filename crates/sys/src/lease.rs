//! Is a file open for writing? A read lease (fcntl(2), F_SETLEASE) is only given if it isn't.

use crate::{Errno, check};
use rustix::fd::{AsRawFd, BorrowedFd};

/// True if somebody has the file open for writing, or holds a mapping of it that writes.
///
/// The file must be open for reading only.
///
/// # Errors
/// EACCES if the file belongs to another user, EINVAL if its file system knows no leases.
pub fn has_writer(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let file = file.as_raw_fd();
    // Whoever opens the file while the lease is held makes the kernel send a signal. The usual
    // one, SIGIO, ends a process that doesn't expect it; SIGURG is ignored.
    // SAFETY: an fcntl that takes and returns numbers.
    check(unsafe { libc::fcntl(file, F_SETSIG, libc::SIGURG) }.into())?;
    // SAFETY: as above.
    match check(unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) }.into()) {
        Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
        Ok(_) => {
            // SAFETY: as above.
            check(unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK) }.into())?;
            Ok(false)
        }
    }
}

/// fcntl(2); the value is the kernel's.
const F_SETSIG: libc::c_int = 10;

#[cfg(test)]
mod tests {
    use super::has_writer;
    use rustix::fd::AsFd;

    #[test]
    fn a_writer_is_seen_until_it_closes() {
        let path = std::env::temp_dir().join(format!("casemate-lease-{}", std::process::id()));
        let writer = std::fs::File::create(&path).unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(has_writer(reader.as_fd()), Ok(true));
        drop(writer);
        assert_eq!(has_writer(reader.as_fd()), Ok(false));
        assert_eq!(has_writer(reader.as_fd()), Ok(false));
    }
}
