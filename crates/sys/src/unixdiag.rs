//! Which Unix sockets a network namespace holds (sock_diag(7), unix_diag_req).
//!
//! A path alone doesn't tell whose socket it is. But a socket belongs to the network namespace
//! that it was made in, and the kernel lists those of one namespace only: a pathname socket that
//! is in the sandbox's list, by device and inode, was bound by the sandbox.

use crate::Errno;
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// A sock_diag socket; it asks the namespace that it was made in, wherever it is used.
pub struct UnixDiag(OwnedFd);

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const SHOW_VFS: u32 = 2;
const ATTRIBUTE_VFS: u16 = 1;
/// nlmsghdr, then unix_diag_msg.
const HEADER: usize = 16;
const BODY: usize = 16;

impl UnixDiag {
    /// Opens it in the current network namespace.
    pub fn open() -> Result<Self, Errno> {
        let protocol = netlink::SOCK_DIAG;
        socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(protocol),
        )
        .map(Self)
    }

    /// True if a socket bound to this inode exists in the namespace.
    pub fn holds(&self, device: u64, inode: u64) -> Result<bool, Errno> {
        send(&self.0, &request(), SendFlags::empty())?;
        let mut buffer = vec![0u8; 32 << 10];
        let mut found = false;
        loop {
            // The dump is read to its end even after a hit, so that the next one starts clean.
            let (_, length) =
                rustix::io::retry_on_intr(|| recv(&self.0, &mut buffer[..], RecvFlags::empty()))?;
            match scan(&buffer[..length.min(buffer.len())], device, inode)? {
                Scan::More { hit } => found |= hit,
                Scan::End { hit } => return Ok(found | hit),
            }
        }
    }

    /// The descriptor, to be passed to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl From<OwnedFd> for UnixDiag {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(40u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    // unix_diag_req: family, protocol, padding, states, inode, what to show, cookie.
    bytes.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(SHOW_VFS.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

enum Scan {
    More { hit: bool },
    End { hit: bool },
}

fn scan(mut bytes: &[u8], device: u64, inode: u64) -> Result<Scan, Errno> {
    let mut hit = false;
    while let Some(length) = word(bytes, 0) {
        let length = length as usize;
        if length < HEADER || length > bytes.len() {
            return Err(Errno::BADMSG);
        }
        match half(bytes, 4) {
            Some(DONE) => return Ok(Scan::End { hit }),
            Some(ERROR) => {
                let errno = word(bytes, HEADER).map_or(libc::EIO, |e| (e as i32).wrapping_neg());
                return Err(Errno::from_raw_os_error(errno));
            }
            _ => {
                hit |= is_bound_to(
                    bytes.get(HEADER + BODY..length).unwrap_or_default(),
                    device,
                    inode,
                )
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Scan::More { hit })
}

/// Looks for unix_diag_vfs {inode, device} among the attributes of one socket.
fn is_bound_to(mut attributes: &[u8], device: u64, inode: u64) -> bool {
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let length = usize::from(length);
        if length < 4 {
            return false;
        }
        if kind == ATTRIBUTE_VFS {
            let (Some(ino), Some(dev)) = (word(attributes, 4), word(attributes, 8)) else {
                return false;
            };
            return u64::from(ino) == inode & 0xffff_ffff
                && u64::from(dev) == kernel_device(device);
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    false
}

/// stat(2) gives the C library's encoding of a device number, sock_diag the kernel's.
fn kernel_device(device: u64) -> u64 {
    u64::from(libc::major(device)) << 20 | u64::from(libc::minor(device))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn finds_a_bound_socket_and_not_a_plain_file() {
        let folder = std::env::temp_dir().join(format!("casemate-diag-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let diag = UnixDiag::open().unwrap();
        let meta = std::fs::metadata(&socket).unwrap();
        assert!(diag.holds(meta.dev(), meta.ino()).unwrap());
        drop(listener);
        assert!(!diag.holds(meta.dev(), meta.ino()).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
