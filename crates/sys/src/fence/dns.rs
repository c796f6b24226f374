//! The socket that gets every DNS query over UDP, and answers in the name of whoever was asked.
//!
//! It is bound to port 53 of all addresses. The kernel says with each datagram which address it
//! was sent to (`IP_PKTINFO` in ip(7), `IPV6_RECVPKTINFO` in ipv6(7)), and takes it back as the
//! source of the answer; a resolver discards answers from elsewhere. There is no connection
//! tracking, so the sender's port is that of the program's socket.

use super::listen::{DNS, Family, transparent};
use crate::socket::option;
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::{SocketType, bind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A UDP socket for queries of one IP version, non-blocking.
pub struct DnsSocket {
    fd: OwnedFd,
    family: Family,
}

/// Who asked, and which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The address of the program's socket; one that isn't bound to an address appears with the
    /// one that the route gave it.
    pub from: SocketAddr,
    /// The server that it believes to ask.
    pub server: IpAddr,
}

/// Room for a control message with an address, aligned as its header is.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl DnsSocket {
    /// Makes it in the current network namespace, in which all addresses are local
    /// ([`Fence`](super::Fence)). Needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE there.
    pub fn open(family: Family) -> Result<Self, Errno> {
        let fd = transparent(family, SocketType::DGRAM)?;
        let (level, name) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        option::set_number(fd.as_fd(), level, name, 1)?;
        bind(&fd, &SocketAddr::new(family.any(), DNS))?;
        Ok(Self { fd, family })
    }

    /// Takes one over that was opened by another process.
    pub fn from_fd(fd: OwnedFd, family: Family) -> Self {
        Self { fd, family }
    }

    /// The descriptor, to be passed to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The next query, cut to the buffer's length; EAGAIN if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Query), Errno> {
        let mut from: MaybeUninit<libc::sockaddr_storage> = MaybeUninit::zeroed();
        let mut control = Control([0; 64]);
        let mut part = part(buffer);
        let mut message = message(from.as_mut_ptr(), &mut part, &mut control);
        // SAFETY: message points to a buffer, an address and a control area of the lengths that
        // it tells, all of which outlive the call.
        let result = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let length = check(result as libc::c_long)? as usize;
        // SAFETY: it was zeroed, which is a valid value, and then written by the kernel.
        let from = unsafe { from.assume_init() };
        let query = Query {
            from: source(&from).ok_or(Errno::AFNOSUPPORT)?,
            server: server(&message).ok_or(Errno::BADMSG)?,
        };
        Ok((length, query))
    }

    /// Answers a query. EAGAIN says that the socket's buffer is full; an answer that is dropped
    /// is asked for again.
    pub fn answer(&self, bytes: &[u8], query: &Query) -> Result<(), Errno> {
        let mut to = target(query.from);
        let mut control = Control([0; 64]);
        let mut bytes = bytes.to_vec();
        let mut part = part(&mut bytes);
        let mut message = message(&raw mut to, &mut part, &mut control);
        message.msg_namelen = match self.family {
            Family::V4 => size_of::<libc::sockaddr_in>(),
            Family::V6 => size_of::<libc::sockaddr_in6>(),
        } as libc::socklen_t;
        claim(&mut message, query.server);
        // SAFETY: as in `receive`; the control area holds one whole message.
        let result = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, 0) };
        check(result as libc::c_long)?;
        Ok(())
    }
}

impl AsFd for DnsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn part(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}

fn message(
    name: *mut libc::sockaddr_storage,
    part: &mut libc::iovec,
    control: &mut Control,
) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    message
}

fn source(from: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at: *const libc::sockaddr_storage = from;
    match i32::from(from.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which fits.
            let from = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip.into(), u16::from_be(from.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, which fits.
            let from = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(from.sin6_addr.s6_addr);
            Some(SocketAddr::new(ip.into(), u16::from_be(from.sin6_port)))
        }
        _ => None,
    }
}

fn target(to: SocketAddr) -> libc::sockaddr_storage {
    // SAFETY: an all-zero sockaddr_storage is valid, and both writes fit into it.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let at = &raw mut storage;
        storage.ss_family = match to.ip() {
            IpAddr::V4(ip) => {
                let at = &mut *at.cast::<libc::sockaddr_in>();
                at.sin_port = to.port().to_be();
                at.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
                libc::AF_INET as libc::sa_family_t
            }
            IpAddr::V6(ip) => {
                let at = &mut *at.cast::<libc::sockaddr_in6>();
                at.sin6_port = to.port().to_be();
                at.sin6_addr.s6_addr = ip.octets();
                libc::AF_INET6 as libc::sa_family_t
            }
        };
        storage
    }
}

/// The address that a datagram was sent to.
fn server(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled the control area of message and told its length; it holds whole
    // messages, and each that is read is of the type that level and kind name.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let data = libc::CMSG_DATA(header);
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

/// Makes this address the source of a message.
fn claim(message: &mut libc::msghdr, source: IpAddr) {
    // SAFETY: the control area is zeroed and has room for either message; the pointers stay in it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let data = libc::CMSG_DATA(header);
        let size = match source {
            IpAddr::V4(ip) => {
                let mut info: libc::in_pktinfo = std::mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
                (*header).cmsg_level = libc::IPPROTO_IP;
                (*header).cmsg_type = libc::IP_PKTINFO;
                size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(ip) => {
                let mut info: libc::in6_pktinfo = std::mem::zeroed();
                info.ipi6_addr.s6_addr = ip.octets();
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
                (*header).cmsg_level = libc::IPPROTO_IPV6;
                (*header).cmsg_type = libc::IPV6_PKTINFO;
                size_of::<libc::in6_pktinfo>()
            }
        } as u32;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
    }
}
