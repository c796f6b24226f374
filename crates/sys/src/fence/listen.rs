//! The listeners of a fenced namespace, and what an accepted connection was meant for.
//!
//! A listener stays in the namespace that it was made in, whichever process holds it, so it is
//! made inside and handed out. To be found by `tproxy` it is `IP_TRANSPARENT`, which takes the
//! CAP_NET_ADMIN that the sandbox's init still has.

use crate::Errno;
use crate::socket::{address, option};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with,
    sockopt,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections that wait to be accepted; the kernel takes fewer where `net.core.somaxconn` says.
const BACKLOG: i32 = 1024;
/// The port of DNS.
pub(super) const DNS: u16 = 53;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and nothing that is mapped into it.
    V6,
}

impl Family {
    pub(super) fn any(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The listener that every TCP connection of the family goes to, on a loopback address and the
/// port of the [`Fence`](super::Fence). Non-blocking and close-on-exec, as are the connections
/// that are accepted with those flags.
///
/// [`destination`] says where a connection was to go. A program can also connect straight to the
/// listener; then that is the listener's own address, and the connection is either meant for a
/// proxy, and says so in its first bytes, or to be refused.
pub fn connections(family: Family, port: u16) -> Result<OwnedFd, Errno> {
    listener(family, SocketAddr::new(family.loopback(), port))
}

/// The listener for DNS over TCP, whatever server was asked.
pub fn dns(family: Family) -> Result<OwnedFd, Errno> {
    listener(family, SocketAddr::new(family.any(), DNS))
}

/// Where the program wanted to go that made this connection: its local address here.
pub fn destination(connection: impl AsFd) -> Result<SocketAddr, Errno> {
    address(getsockname(connection)?)
}

/// A TCP socket on which nothing is set, as any program of the namespace gets it.
pub fn fresh(family: Family) -> Result<OwnedFd, Errno> {
    let domain = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    socket_with(domain, SocketType::STREAM, flags, Some(ipproto::TCP))
}

fn listener(family: Family, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = transparent(family, SocketType::STREAM)?;
    // The connections inherit this, and are then not in the way of a program's own server that
    // sets it too.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

pub(super) fn transparent(family: Family, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = (kind == SocketType::STREAM).then_some(ipproto::TCP);
    let (domain, level, name) = match family {
        Family::V4 => (AddressFamily::INET, libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        Family::V6 => (
            AddressFamily::INET6,
            libc::IPPROTO_IPV6,
            libc::IPV6_TRANSPARENT,
        ),
    };
    let socket = socket_with(domain, kind, flags, protocol)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    option::set_number(socket.as_fd(), level, name, 1)?;
    Ok(socket)
}
