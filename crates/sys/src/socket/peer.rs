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

/// Who connected, or made the pair, as it was then (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process, unless it is in a PID namespace that isn't seen from here.
    pub pid: Option<u32>,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Asks the kernel who that is (unix(7)).
pub fn credentials(socket: impl AsFd) -> Result<Credentials, Errno> {
    let mut numbers = [0; 12];
    option::bytes(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_PEERCRED,
        &mut numbers,
    )?;
    let (numbers, _) = numbers.as_chunks::<4>();
    let number = |at: usize| u32::from_ne_bytes(numbers[at]);
    Ok(Credentials {
        pid: Some(number(0)).filter(|pid| *pid != 0),
        uid: number(1),
        gid: number(2),
    })
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

    #[test]
    fn the_other_end_of_a_pair_has_this_users_credentials() {
        let (one, _other) = UnixStream::pair().unwrap();
        let found = super::credentials(&one).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        assert_eq!(found.gid, rustix::process::getegid().as_raw());
    }
}
