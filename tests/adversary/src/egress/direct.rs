//! Going there directly, by every kind of socket.

use std::net::SocketAddr;

use super::{at, connect, permitted, reach, sockaddr, socket};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, check, sys};
use crate::io_uring::connect_by_ring;
use crate::sockets::greeting;
use crate::stage;
use crate::world::{FORBIDDEN, FORBIDDEN6, METADATA, OTHER_PORT, PERMITTED};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(egress_direct, "connect without asking any proxy").with(Network),
    attempt!(
        egress_other_port,
        "connect to another port of an allowed host"
    )
    .with(Network),
    attempt!(egress_metadata, "connect to the cloud's metadata service").with(Network),
    attempt!(egress_ipv6, "connect by IPv6").with(Network),
    attempt!(egress_mapped, "connect by IPv6 to the mapped IPv4 address").with(Network),
    attempt!(
        egress_nonblocking,
        "connect without waiting, and write when the socket is writable"
    )
    .with(Network),
    attempt!(egress_multipath, "connect with multipath TCP")
        .kernel("mptcp")
        .with(Network),
    attempt!(egress_ring, "connect through io_uring")
        .kernel("io_uring")
        .with(Network),
    attempt!(egress_udp, "send a datagram").with(Network),
    attempt!(egress_udp_connected, "connect a datagram socket and write").with(Network),
    attempt!(egress_udp_ipv6, "send a datagram by IPv6").with(Network),
    attempt!(egress_udp_many, "send datagrams with sendmmsg").with(Network),
    attempt!(
        egress_udp_dns_port,
        "send a datagram from the socket of an answered DNS query"
    )
    .with(Network),
    attempt!(egress_udp_lite, "make a UDP-Lite socket")
        .kernel("udp-lite")
        .with(Network),
    attempt!(egress_sctp, "make an SCTP socket")
        .kernel("sctp")
        .with(Network),
    attempt!(egress_raw, "send a datagram from a raw socket")
        .root()
        .with(Network),
    attempt!(egress_packet, "make a socket for raw frames")
        .root()
        .with(Network),
    attempt!(egress_ping, "make a raw ICMP socket")
        .root()
        .with(Network),
];

/// The proxy's variables are advice that a program needn't follow.
fn egress_direct() -> Verdict {
    drop(permitted()?);
    reach(at(FORBIDDEN))
}

/// A host is allowed with its ports.
fn egress_other_port() -> Verdict {
    drop(permitted()?);
    reach(SocketAddr::new(PERMITTED.into(), OTHER_PORT))
}

/// The credentials of the machine.
fn egress_metadata() -> Verdict {
    reach(at(METADATA))
}

/// The family that rules forget.
fn egress_ipv6() -> Verdict {
    reach(at(FORBIDDEN6))
}

/// ipv6(7): ::ffff:a.b.c.d.
fn egress_mapped() -> Verdict {
    reach(at(FORBIDDEN.to_ipv6_mapped()))
}

/// EINPROGRESS is no permission.
fn egress_nonblocking() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match connect(fd, at(FORBIDDEN)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
            return Err(error).attack("connect");
        }
        _ => {}
    }
    greeting(fd, "a connection in progress")
}

/// It falls back to TCP on the wire.
fn egress_multipath() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    greeting(fd, "multipath TCP")
}

/// IORING_OP_CONNECT.
fn egress_ring() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (address, length) = sockaddr(at(FORBIDDEN));
    connect_by_ring(fd, std::ptr::from_ref(&address).cast(), length)?;
    greeting(fd, "io_uring")
}

fn send(fd: i32, message: &str, to: SocketAddr) -> Verdict {
    let (address, length) = sockaddr(to);
    sys!(libc::sendto(
        fd,
        message.as_ptr().cast(),
        message.len(),
        0,
        std::ptr::from_ref(&address).cast(),
        length
    ))
    .attack("sendto")?;
    stage::received(message)
}

/// udp(7).
fn egress_udp() -> Verdict {
    send(
        socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?,
        "egress-udp",
        at(FORBIDDEN),
    )
}

/// The same in two steps, to the allowed host: TCP is not UDP.
fn egress_udp_connected() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(fd, at(PERMITTED)).attack("connect")?;
    sys!(libc::write(fd, b"egress-udp-write".as_ptr().cast(), 16)).attack("write")?;
    stage::received("egress-udp-write")
}

/// QUIC would come this way.
fn egress_udp_ipv6() -> Verdict {
    send(
        socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?,
        "egress-udp-six",
        at(FORBIDDEN6),
    )
}

/// sendmmsg(2).
fn egress_udp_many() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let (mut address, length) = sockaddr(at(FORBIDDEN));
    let text = *b"egress-udp-many";
    let mut part = libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = std::ptr::from_mut(&mut address).cast();
    message.msg_hdr.msg_namelen = length;
    message.msg_hdr.msg_iov = &mut part;
    message.msg_hdr.msg_iovlen = 1;
    check(unsafe { libc::sendmmsg(fd, &mut message, 1, 0) }).attack("sendmmsg")?;
    stage::received("egress-udp-many")
}

/// A socket that DNS went through is no other socket for that.
fn egress_udp_dns_port() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    super::names::ask_from(fd, "permitted.test", super::names::A)?;
    send(fd, "egress-udp-after", at(FORBIDDEN))
}

/// RFC 3828.
fn egress_udp_lite() -> Verdict {
    const UDP_LITE: i32 = 136;
    send(
        socket(libc::AF_INET, libc::SOCK_DGRAM, UDP_LITE)?,
        "egress-lite",
        at(FORBIDDEN),
    )
    .or_else(|_| Ok("a UDP-Lite socket was made".to_owned()))
}

/// sctp(7).
fn egress_sctp() -> Verdict {
    socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
    Ok("an SCTP socket was made".to_owned())
}

/// raw(7), with a UDP header of our own.
fn egress_raw() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    let text = b"egress-raw";
    let length = 8 + text.len() as u16;
    let mut datagram = Vec::new();
    for word in [4000, crate::world::PORT, length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(text);
    let (address, size) = sockaddr(SocketAddr::new(FORBIDDEN.into(), 0));
    sys!(libc::sendto(
        fd,
        datagram.as_ptr().cast(),
        datagram.len(),
        0,
        std::ptr::from_ref(&address).cast(),
        size
    ))
    .attack("sendto")?;
    stage::received("egress-raw")
}

/// packet(7).
fn egress_packet() -> Verdict {
    socket(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)?;
    Ok("a packet socket was made".to_owned())
}

/// Tunnels in echo requests.
fn egress_ping() -> Verdict {
    socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    Ok("a raw ICMP socket was made".to_owned())
}
