//! Reaching the host over its loopback, and socket families beyond the ordinary.

use std::io;
use std::mem::size_of;

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, inconclusive, read, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        tcp_loopback,
        "connect to a TCP server of the host's loopback"
    ),
    attempt!(
        tcp_fast_open,
        "reach the same with sendto and MSG_FASTOPEN, without connect"
    ),
    attempt!(
        tcp_mapped,
        "reach the same from an IPv6 socket, by its mapped address"
    )
    .kernel("ipv6"),
    attempt!(mptcp_loopback, "connect to the same with multipath TCP").kernel("mptcp"),
    attempt!(udp_loopback, "send a datagram to the host's loopback"),
    attempt!(
        udp_connected,
        "connect a datagram socket to the host's loopback and write"
    ),
    attempt!(sctp_socket, "make an SCTP socket").kernel("sctp"),
    attempt!(smc_socket, "make a shared-memory socket").kernel("smc"),
    attempt!(vsock_socket, "make a socket to the machine's host").kernel("vsock"),
    attempt!(packet_socket, "make a socket for raw frames").root(),
    attempt!(raw_icmp_socket, "make a raw ICMP socket").root(),
    attempt!(
        ping_socket,
        "make an ICMP socket of the kind that needs no privilege"
    )
    .root(),
    attempt!(alg_socket, "make a socket to the kernel's ciphers").kernel("af_alg"),
    attempt!(xdp_socket, "make an express data path socket")
        .root()
        .kernel("xdp"),
    attempt!(key_socket, "make a socket to the IPsec key store")
        .root()
        .kernel("af_key"),
    attempt!(bluetooth_socket, "make a Bluetooth socket").kernel("bluetooth"),
    attempt!(rds_socket, "make a reliable datagram socket").kernel("rds"),
    attempt!(tipc_socket, "make a TIPC socket").kernel("tipc"),
    attempt!(qipcrtr_socket, "make a socket to a modem's processors").kernel("qipcrtr"),
    attempt!(rare_families, "make a socket of any other family").kernel("a rare family"),
    attempt!(
        netlink_nftables,
        "add a table to nftables, in a new namespace if need be"
    ),
    attempt!(
        netlink_other,
        "make a netlink socket other than that of routes"
    ),
];

type Socket = Result<i32, Stop>;

fn socket(family: i32, kind: i32, protocol: i32) -> Socket {
    let fd = sys!(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol)).attack("socket")?;
    Ok(fd as i32)
}

/// A family that can be had at all is its attack surface.
fn family(family: i32, kind: i32, protocol: i32) -> Verdict {
    let fd = socket(family, kind, protocol)?;
    Ok(format!(
        "socket({family}, {kind}, {protocol}) gave descriptor {fd}"
    ))
}

fn loopback(port: &str) -> Result<libc::sockaddr_in, Stop> {
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = stage::number::<u16>(port)?.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    Ok(address)
}

pub(crate) fn connect<T>(fd: i32, address: &T) -> io::Result<i64> {
    let length = size_of::<T>() as u32;
    sys!(libc::connect(
        fd,
        std::ptr::from_ref(address).cast(),
        length
    ))
}

/// Waits at most a second for what the host's server says to everyone.
pub(crate) fn greeting(fd: i32, from: &str) -> Verdict {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    match sys!(libc::poll(&mut poll, 1, 1000)).prepare("poll")? {
        0 => blocked(format!("{from}: no answer")),
        _ => stage::reveals(&read(fd).attack("read")?, from),
    }
}

fn stream(protocol: i32, from: &str) -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, protocol)?;
    connect(fd, &loopback("ATTEMPT_PORT")?).attack("connect")?;
    greeting(fd, from)
}

/// The services that trust whoever comes over loopback.
fn tcp_loopback() -> Verdict {
    stream(libc::IPPROTO_TCP, "TCP")
}

/// tcp(7), MSG_FASTOPEN: a connection that a filter on connect(2) never sees.
fn tcp_fast_open() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let address = loopback("ATTEMPT_PORT")?;
    let to = std::ptr::from_ref(&address).cast();
    let length = size_of::<libc::sockaddr_in>() as u32;
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

/// ipv6(7): ::ffff:127.0.0.1 is the same server under another family.
fn tcp_mapped() -> Verdict {
    let fd = socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_port = stage::number::<u16>("ATTEMPT_PORT")?.to_be();
    address.sin6_addr.s6_addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
    connect(fd, &address).attack("connect")?;
    greeting(fd, "a mapped address")
}

/// Landlock's rules for TCP do not cover multipath TCP, which falls back to it on the wire.
fn mptcp_loopback() -> Verdict {
    stream(libc::IPPROTO_MPTCP, "multipath TCP")
}

/// udp(7): no connection to filter.
fn udp_loopback() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let address = loopback("ATTEMPT_UDP_PORT")?;
    let (message, to) = (b"udp-sendto", std::ptr::from_ref(&address).cast());
    let length = size_of::<libc::sockaddr_in>() as u32;
    sys!(libc::sendto(
        fd,
        message.as_ptr().cast(),
        message.len(),
        0,
        to,
        length
    ))
    .attack("sendto")?;
    stage::received("udp-sendto")
}

/// The same in two steps: connect(2) sends nothing, write(2) names nobody.
fn udp_connected() -> Verdict {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(fd, &loopback("ATTEMPT_UDP_PORT")?).attack("connect")?;
    sys!(libc::write(fd, b"udp-write".as_ptr().cast(), 9)).attack("write")?;
    stage::received("udp-write")
}

/// sctp(7): past rules for TCP and UDP.
fn sctp_socket() -> Verdict {
    family(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)
}

/// SMC sets up its own channel beside TCP, past Landlock's rules.
fn smc_socket() -> Verdict {
    const AF_SMC: i32 = 43;
    family(AF_SMC, libc::SOCK_STREAM, 0)
}

/// vsock(7): in a virtual machine it reaches the machine's host.
fn vsock_socket() -> Verdict {
    family(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
}

/// packet(7).
fn packet_socket() -> Verdict {
    family(libc::AF_PACKET, libc::SOCK_RAW, 0x0300)
}

/// raw(7).
fn raw_icmp_socket() -> Verdict {
    family(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
}

/// icmp(7): ping_group_range decides who may, and is set in a new namespace if one can be had.
fn ping_socket() -> Verdict {
    if sys!(libc::unshare(libc::CLONE_NEWNET)).is_ok() {
        let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    }
    family(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)
}

/// The family of many local root exploits.
fn alg_socket() -> Verdict {
    family(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)
}

/// Shares rings of frames with the kernel.
fn xdp_socket() -> Verdict {
    family(libc::AF_XDP, libc::SOCK_RAW, 0)
}

/// RFC 2367.
fn key_socket() -> Verdict {
    const PF_KEY_V2: i32 = 2;
    family(libc::AF_KEY, libc::SOCK_RAW, PF_KEY_V2)
}

/// Bluetooth is not divided by network namespaces.
fn bluetooth_socket() -> Verdict {
    const BTPROTO_HCI: i32 = 1;
    family(libc::AF_BLUETOOTH, libc::SOCK_RAW, BTPROTO_HCI)
}

/// CVE-2010-3904 and its successors.
fn rds_socket() -> Verdict {
    family(libc::AF_RDS, libc::SOCK_SEQPACKET, 0)
}

/// CVE-2021-43267 and its successors.
fn tipc_socket() -> Verdict {
    family(libc::AF_TIPC, libc::SOCK_STREAM, 0)
}

/// qrtr reaches the other processors of a phone.
fn qipcrtr_socket() -> Verdict {
    const AF_QIPCRTR: i32 = 42;
    family(AF_QIPCRTR, libc::SOCK_DGRAM, 0)
}

/// Everything that socket(2) knows and programs do not need, loading modules on the way.
fn rare_families() -> Verdict {
    let ordinary = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let kinds = [
        libc::SOCK_STREAM,
        libc::SOCK_DGRAM,
        libc::SOCK_RAW,
        libc::SOCK_SEQPACKET,
    ];
    let mut last = "EAFNOSUPPORT".to_owned();
    for number in (3..=46).filter(|number| !ordinary.contains(number)) {
        for kind in kinds {
            match socket(number, kind, 0) {
                Ok(_) => return Ok(format!("family {number}, type {kind} gave a socket")),
                Err(Stop::Blocked(why)) => last = why,
                Err(stop) => return Err(stop),
            }
        }
    }
    blocked(last)
}

fn netlink(protocol: i32) -> Socket {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)
}

/// One netlink message with its header; netlink(7).
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// A batch with one "new table"; linux/netfilter/nf_tables.h.
fn new_table() -> Vec<u8> {
    const NEW_TABLE: u16 = 10 << 8;
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_ACK) as u16;
    let batch = [0, 0, 0, 10];
    let attribute = b"\x0a\0\x01\0probe\0\0\0";
    let table = [&[libc::AF_INET as u8, 0, 0, 0], attribute.as_slice()].concat();
    [
        message(16, 0, &batch),
        message(NEW_TABLE, flags, &table),
        message(17, 0, &batch),
    ]
    .concat()
}

/// nf_tables is where most kernel exploits of recent years begin; a new user namespace opens it.
fn netlink_nftables() -> Verdict {
    // A namespace of its own keeps the table off the host; where none can be had, it is tried as is.
    if sys!(libc::unshare(libc::CLONE_NEWNET)).is_err() {
        let _ = sys!(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET));
    }
    let fd = netlink(libc::NETLINK_NETFILTER)?;
    let batch = new_table();
    sys!(libc::send(fd, batch.as_ptr().cast(), batch.len(), 0)).attack("send")?;
    let answer = read(fd).attack("recv")?;
    let Some(error) = answer.get(16..20) else {
        return inconclusive("a short answer");
    };
    match i32::from_ne_bytes([error[0], error[1], error[2], error[3]]) {
        0 => Ok("the kernel made the table".to_owned()),
        error => Err(io::Error::from_raw_os_error(-error)).attack("NFT_MSG_NEWTABLE"),
    }
}

/// Kernel interfaces over netlink(7), each of which has had its holes.
fn netlink_other() -> Verdict {
    let protocols = [
        libc::NETLINK_NETFILTER,
        libc::NETLINK_KOBJECT_UEVENT,
        libc::NETLINK_GENERIC,
        libc::NETLINK_AUDIT,
        libc::NETLINK_XFRM,
        libc::NETLINK_CRYPTO,
        libc::NETLINK_CONNECTOR,
    ];
    let mut last = String::new();
    for protocol in protocols {
        match netlink(protocol) {
            Ok(_) => return Ok(format!("netlink protocol {protocol} gave a socket")),
            Err(Stop::Blocked(why)) => last = why,
            Err(stop) => return Err(stop),
        }
    }
    blocked(last)
}
