//! The interfaces that a sandbox has: loopback, and that of a virtual machine.

use crate::socket::option;
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::net::Ipv4Addr;

/// Brings `lo` up in the current network namespace (netdevice(7), SIOCSIFFLAGS); with it come
/// 127.0.0.1 and ::1.
pub fn loopback_up() -> Result<(), Errno> {
    up(&datagrams()?, "lo")
}

/// Gives an interface its address, and makes it the way to everywhere (netdevice(7), SIOCSIFADDR,
/// SIOCSIFNETMASK; SIOCADDRT as in route(8)).
pub fn interface_up(
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Ipv4Addr,
) -> Result<(), Errno> {
    let socket = datagrams()?;
    for (call, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_addr = socket_address(address);
        // SAFETY: request names an interface and holds an address, as both calls read them.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), call, &raw const request) };
        check(result.into())?;
    }
    up(&socket, name)?;
    // SAFETY: an all-zero rtentry is valid.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: route holds addresses, and no pointer to a name, as SIOCADDRT reads them.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw const route) };
    check(result.into())?;
    Ok(())
}

fn datagrams() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

fn request(name: &str) -> Result<libc::ifreq, Errno> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::NAMETOOLONG);
    }
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    Ok(request)
}

fn up(socket: &OwnedFd, name: &str) -> Result<(), Errno> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: request names an interface and holds its flags, as SIOCSIFFLAGS reads them.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into())?;
    Ok(())
}

/// An address without a port (ip(7)).
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: all zeros are a sockaddr.
    let mut all: libc::sockaddr = unsafe { std::mem::zeroed() };
    all.sa_family = libc::AF_INET as libc::sa_family_t;
    // The address follows the port, in the order of the network.
    for (to, byte) in all.sa_data[2..].iter_mut().zip(address.octets()) {
        *to = byte as libc::c_char;
    }
    all
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
