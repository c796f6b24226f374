//! The one interface that a sandbox has: loopback.

use crate::socket::option;
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Brings `lo` up in the current network namespace (netdevice(7), SIOCSIFFLAGS); with it come
/// 127.0.0.1 and ::1.
pub fn loopback_up() -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: request names an interface and holds its flags, as SIOCSIFFLAGS reads them.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into())?;
    Ok(())
}

/// A socket address as connect(2) takes it: bytes that the kernel judges.
pub struct Address {
    bytes: [u8; 128],
    length: u32,
}

impl Address {
    /// Bytes that a program gave, copied.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Errno> {
        let mut address = Self {
            bytes: [0; 128],
            length: bytes.len() as u32,
        };
        address
            .bytes
            .get_mut(..bytes.len())
            .ok_or(Errno::INVAL)?
            .copy_from_slice(bytes);
        Ok(address)
    }

    /// The address of a Unix socket at a path (unix(7)), at most 107 bytes long.
    pub fn unix(path: &str) -> Result<Self, Errno> {
        if path.len() > 107 {
            return Err(Errno::NAMETOOLONG);
        }
        let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        bytes.extend(path.as_bytes());
        bytes.push(0);
        Self::from_bytes(&bytes)
    }
}

/// Connects a socket (connect(2)).
pub fn connect(socket: &OwnedFd, address: &Address) -> Result<(), Errno> {
    let bytes = address.bytes.as_ptr().cast();
    // SAFETY: bytes holds at least length bytes; the kernel checks what they mean.
    let result = unsafe { libc::connect(socket.as_raw_fd(), bytes, address.length) };
    check(result.into())?;
    Ok(())
}

/// The address family of a socket (SO_DOMAIN in socket(7)).
pub fn domain(socket: &OwnedFd) -> Result<i32, Errno> {
    option(socket, libc::SO_DOMAIN)
}

/// True for a stream socket (SO_TYPE in socket(7)).
pub fn is_stream(socket: &OwnedFd) -> Result<bool, Errno> {
    option(socket, libc::SO_TYPE).map(|kind| kind == libc::SOCK_STREAM)
}

fn option(socket: &OwnedFd, name: libc::c_int) -> Result<i32, Errno> {
    option::number(socket.as_fd(), libc::SOL_SOCKET, name)
}

/// The addresses of this host's interfaces, of the network namespace of the caller (getifaddrs(3)).
pub fn own_addresses() -> Result<Vec<std::net::IpAddr>, Errno> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs makes a list that is read until freeifaddrs; each address is of the type
    // that its family says.
    unsafe {
        check(libc::getifaddrs(&raw mut list).into())?;
        let mut addresses = Vec::new();
        let mut next = list;
        while let Some(entry) = next.as_ref() {
            if let Some(address) = entry.ifa_addr.as_ref() {
                match i32::from(address.sa_family) {
                    libc::AF_INET => {
                        let address = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        addresses.push(address.sin_addr.s_addr.to_ne_bytes().into());
                    }
                    libc::AF_INET6 => {
                        let address = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        addresses.push(address.sin6_addr.s6_addr.into());
                    }
                    _ => {}
                }
            }
            next = entry.ifa_next;
        }
        libc::freeifaddrs(list);
        Ok(addresses)
    }
}
