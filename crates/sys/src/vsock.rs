//! Streams from the host to a machine, at the machine's end (vsock(7)).

use crate::Errno;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How many connections may wait to be taken.
const BACKLOG: i32 = 64;

/// Listens for the host at a port, close-on-exec. accept(2) takes what comes.
///
/// # Errors
/// EAFNOSUPPORT where the kernel has no such streams; EADDRINUSE if somebody listens there.
pub fn listen(port: u32) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: it takes numbers alone.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, kind, 0) };
    if socket < 0 {
        return Err(last());
    }
    // SAFETY: it was just made, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = libc::sockaddr_vm {
        svm_family: libc::AF_VSOCK as libc::sa_family_t,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: libc::VMADDR_CID_ANY,
        svm_zero: [0; 4],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is one of this family, and as long as is said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(last());
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_listened_at_once() {
        let port = 40_000 + std::process::id() % 10_000;
        match listen(port) {
            Err(Errno::AFNOSUPPORT) => println!("skipped: this kernel has no vsock"),
            first => {
                let _first = first.expect("it listens");
                assert_eq!(listen(port).err(), Some(Errno::ADDRINUSE));
            }
        }
    }
}
