//! Who is at the other end of a Unix socket.

use super::option;
use crate::Errno;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};

/// SO_PEERPIDFD of <asm-generic/socket.h>, Linux 6.5.
const PEER_PIDFD: i32 = 77;

/// A pidfd of the process that connected, or that made the pair (unix(7)). ENOPROTOOPT if the
/// kernel can't say.
pub fn pidfd(socket: impl AsFd) -> Result<OwnedFd, Errno> {
    let fd = option::number(socket.as_fd(), libc::SOL_SOCKET, PEER_PIDFD)?;
    // SAFETY: the kernel just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let Ok(pidfd) = super::pidfd(&one) else {
            println!("skipped: needs Linux 6.5");
            return;
        };
        let info = rustix::fd::AsRawFd::as_raw_fd(&pidfd);
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{info}")).unwrap();
        assert!(
            text.contains(&format!("Pid:\t{}\n", std::process::id())),
            "{text}"
        );
    }
}
