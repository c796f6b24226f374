//! Connecting by other calls than connect(2), and sockets with unusual options.

use std::net::SocketAddr;

use super::{at, connect, permitted, sockaddr, socket};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, read, sys};
use crate::sockets::greeting;
use crate::world::{FORBIDDEN, HELPED, PERMITTED, PROXY};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        egress_fast_open,
        "open a connection with sendto and MSG_FASTOPEN"
    )
    .with(Network),
    attempt!(
        egress_fast_open_message,
        "open a connection with sendmsg and MSG_FASTOPEN"
    )
    .with(Network),
    attempt!(
        egress_fast_open_later,
        "open a connection with the first write, by TCP_FASTOPEN_CONNECT"
    )
    .with(Network),
    attempt!(
        egress_reconnect,
        "dissolve an allowed connection with AF_UNSPEC and connect elsewhere"
    )
    .with(Network),
    attempt!(egress_transparent, "set IP_TRANSPARENT")
        .root()
        .with(Network),
    attempt!(
        egress_freebind,
        "connect from a foreign source address with IP_FREEBIND"
    )
    .with(Network),
    attempt!(egress_mark, "mark packets with SO_MARK")
        .root()
        .with(Network),
    attempt!(
        egress_bind_device,
        "bind to a network device with SO_BINDTODEVICE and connect"
    )
    .with(Network),
    attempt!(egress_low_port, "connect from a source port of DNS")
        .root()
        .with(Network),
    attempt!(
        egress_take_dns,
        "take queries for oneself on the port of DNS with SO_REUSEPORT"
    )
    .root()
    .with(Network),
    attempt!(
        egress_take_proxy,
        "take the proxy's place on its port with SO_REUSEPORT"
    )
    .root()
    .with(Network),
    attempt!(egress_route, "change the routes with netlink")
        .root()
        .with(Network),
    attempt!(egress_address, "add an address with netlink")
        .root()
        .with(Network),
    attempt!(egress_rules, "open a netlink socket to nftables")
        .root()
        .with(Network),
    attempt!(egress_link_down, "take the loopback interface down")
        .root()
        .with(Network),
];

fn stream() -> Result<i32, Stop> {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

/// tcp(7): a connect(2) in sendto's clothes.
fn egress_fast_open() -> Verdict {
    let fd = stream()?;
    let (address, length) = sockaddr(at(FORBIDDEN));
    let to = std::ptr::from_ref(&address).cast();
    sys!(libc::sendto(
        fd,
        b"x".as_ptr().cast(),
        1,
        libc::MSG_FASTOPEN,
        to,
        length
    ))
    .attack("sendto")?;
    greeting(fd, "TCP fast open")
}

/// The address is in memory, two pointers away.
fn egress_fast_open_message() -> Verdict {
    let fd = stream()?;
    let (mut address, length) = sockaddr(at(FORBIDDEN));
    let mut part = libc::iovec {
        iov_base: b"x".as_ptr().cast_mut().cast(),
        iov_len: 1,
    };
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut address).cast();
    message.msg_namelen = length;
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    sys!(libc::sendmsg(fd, &message, libc::MSG_FASTOPEN)).attack("sendmsg")?;
    greeting(fd, "TCP fast open")
}

/// connect(2) returns before anything is sent.
fn egress_fast_open_later() -> Verdict {
    let fd = stream()?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1).prepare("TCP_FASTOPEN_CONNECT")?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    sys!(libc::write(fd, b"x".as_ptr().cast(), 1)).attack("write")?;
    greeting(fd, "TCP_FASTOPEN_CONNECT")
}

/// connect(2): AF_UNSPEC dissolves the association.
fn egress_reconnect() -> Verdict {
    use std::os::fd::AsRawFd;
    let stream = permitted()?;
    let fd = stream.as_raw_fd();
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    crate::sockets::connect(fd, &nowhere).attack("connect to AF_UNSPEC")?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    greeting(fd, "the socket of an allowed connection")
}

fn set(fd: i32, level: i32, name: i32, value: i32) -> std::io::Result<i64> {
    let value = std::ptr::from_ref(&value).cast();
    sys!(libc::setsockopt(fd, level, name, value, 4))
}

/// ip(7), CAP_NET_ADMIN.
fn egress_transparent() -> Verdict {
    set(stream()?, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1).attack("IP_TRANSPARENT")?;
    Ok("IP_TRANSPARENT is set".to_owned())
}

/// To look like a connection of somebody else.
fn egress_freebind() -> Verdict {
    let fd = stream()?;
    set(fd, libc::IPPROTO_IP, libc::IP_FREEBIND, 1).attack("IP_FREEBIND")?;
    bind(fd, SocketAddr::new(HELPED.into(), 0)).attack("bind")?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    greeting(fd, "a foreign source")
}

/// Rules of a packet filter go by marks.
fn egress_mark() -> Verdict {
    set(stream()?, libc::SOL_SOCKET, libc::SO_MARK, 1).attack("SO_MARK")?;
    Ok("SO_MARK is set".to_owned())
}

/// Past the routing table.
fn egress_bind_device() -> Verdict {
    let fd = stream()?;
    sys!(libc::setsockopt(
        fd,
        libc::SOL_SOCKET,
        libc::SO_BINDTODEVICE,
        c"lo".as_ptr().cast(),
        3
    ))
    .attack("SO_BINDTODEVICE")?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    greeting(fd, "a bound device")
}

fn bind(fd: i32, to: SocketAddr) -> std::io::Result<i64> {
    let (address, length) = sockaddr(to);
    sys!(libc::bind(fd, std::ptr::from_ref(&address).cast(), length))
}

/// What answers DNS is let through somewhere.
fn egress_low_port() -> Verdict {
    let fd = stream()?;
    let from = SocketAddr::new(PERMITTED.into(), 53);
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).prepare("SO_REUSEADDR")?;
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).prepare("SO_REUSEPORT")?;
    bind(fd, from).attack("bind")?;
    connect(fd, at(FORBIDDEN)).attack("connect")?;
    greeting(fd, "port 53")
}

/// Both transports, on all addresses and on one.
fn egress_take_dns() -> Verdict {
    take(&[
        (libc::SOCK_DGRAM, SocketAddr::from(([0, 0, 0, 0], 53))),
        (libc::SOCK_DGRAM, SocketAddr::from(([127, 0, 0, 2], 53))),
        (libc::SOCK_STREAM, SocketAddr::from(([0, 0, 0, 0], 53))),
        (libc::SOCK_STREAM, SocketAddr::from(([127, 0, 0, 2], 53))),
    ])
}

/// What another program says to its proxy may be worth reading.
fn egress_take_proxy() -> Verdict {
    take(&[
        (libc::SOCK_STREAM, PROXY.into()),
        (libc::SOCK_STREAM, SocketAddr::from(([0, 0, 0, 0], PROXY.1))),
    ])
}

fn take(places: &[(i32, SocketAddr)]) -> Verdict {
    let mut last = String::new();
    for (kind, place) in places {
        let fd = socket(libc::AF_INET, *kind, 0)?;
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).prepare("SO_REUSEADDR")?;
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).prepare("SO_REUSEPORT")?;
        let taken = bind(fd, *place).and_then(|_| match *kind {
            libc::SOCK_STREAM => sys!(libc::listen(fd, 1)),
            _ => Ok(0),
        });
        match taken.attack(&format!("bind {place}")) {
            Ok(_) => return Ok(format!("{place} is taken")),
            Err(Stop::Blocked(why)) => last = why,
            Err(stop) => return Err(stop),
        }
    }
    blocked(last)
}

/// A request on rtnetlink(7), and the errno of its answer.
fn request(kind: u16, flags: i32, body: &[u8]) -> Verdict {
    let fd = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    sys!(libc::send(fd, message.as_ptr().cast(), message.len(), 0)).attack("send")?;
    let answer = read(fd).attack("recv")?;
    let error = answer.get(16..20).map_or(0, |word| {
        i32::from_ne_bytes([word[0], word[1], word[2], word[3]])
    });
    match error {
        0 => Ok(format!("netlink did request {kind}")),
        error => Err(std::io::Error::from_raw_os_error(-error)).attack("netlink"),
    }
}

/// The index of the loopback interface is 1 in every namespace.
const LO: [u8; 4] = 1u32.to_ne_bytes();

/// RTM_NEWROUTE: 203.0.113.0/24 by way of lo.
fn egress_route() -> Verdict {
    let mut body = vec![libc::AF_INET as u8, 24, 0, 0, 254, 4, 253, 1, 0, 0, 0, 0];
    body.extend([8, 0, 1, 0, 203, 0, 113, 0, 8, 0, 4, 0]);
    body.extend(LO);
    request(24, libc::NLM_F_CREATE, &body)
}

/// RTM_NEWADDR.
fn egress_address() -> Verdict {
    let mut body = vec![libc::AF_INET as u8, 32, 0, 0];
    body.extend(LO);
    body.extend([8, 0, 2, 0, 203, 0, 113, 9]);
    request(20, libc::NLM_F_CREATE, &body)
}

/// The fence is a table of it.
fn egress_rules() -> Verdict {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)?;
    Ok("a socket to nftables was made".to_owned())
}

/// RTM_NEWLINK with IFF_UP cleared and then set again: what hangs on it would be gone.
fn egress_link_down() -> Verdict {
    let mut body = vec![0, 0, 0, 0];
    body.extend(LO);
    body.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    request(16, 0, &body)
}
