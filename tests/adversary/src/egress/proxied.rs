//! Asking the proxy, in all the ways that one may misunderstand.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{ask_proxy, hear, proxy};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked};
use crate::sockets::greeting;
use crate::stage;
use crate::world::{FORBIDDEN, FRONTED, METADATA, PERMITTED, PORT, TLS_PORT};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(egress_connect, "ask the proxy for a forbidden address").with(Network),
    attempt!(egress_connect_name, "ask the proxy for a forbidden name").with(Network),
    attempt!(
        egress_connect_metadata,
        "ask the proxy for the metadata service, spelt in 15 ways"
    )
    .with(Network),
    attempt!(
        egress_connect_spellings,
        "ask the proxy for a forbidden address in decimal, hexadecimal and octal"
    )
    .with(Network),
    attempt!(
        egress_connect_internal,
        "ask the proxy for an allowed name that leads inside"
    )
    .with(Network),
    attempt!(
        egress_connect_userinfo,
        "hide the host behind an allowed one with @"
    )
    .with(Network),
    attempt!(
        egress_smuggle_line_feed,
        "smuggle a second CONNECT behind a bare line feed"
    )
    .with(Network),
    attempt!(
        egress_smuggle_carriage_return,
        "smuggle a second CONNECT behind a bare carriage return"
    )
    .with(Network),
    attempt!(
        egress_smuggle_fold,
        "smuggle a second CONNECT in a folded header"
    )
    .with(Network),
    attempt!(
        egress_smuggle_body,
        "smuggle a second CONNECT in the body of the first"
    )
    .with(Network),
    attempt!(
        egress_absolute,
        "ask the proxy for a forbidden URL without CONNECT"
    )
    .with(Network),
    attempt!(
        egress_absolute_host,
        "ask for an allowed URL with a forbidden Host header"
    )
    .with(Network),
    attempt!(
        egress_upgrade,
        "ask the proxy to speak HTTP/2 in the clear for a forbidden host"
    )
    .with(Network),
    attempt!(egress_preface, "speak HTTP/2 to the proxy at once").with(Network),
    attempt!(egress_socks4, "ask by SOCKS4").with(Network),
    attempt!(egress_socks4_name, "ask by SOCKS4a for a name").with(Network),
    attempt!(egress_socks5, "ask by SOCKS5 for a forbidden address").with(Network),
    attempt!(
        egress_socks5_metadata,
        "ask by SOCKS5 for the metadata service, mapped and embedded"
    )
    .with(Network),
    attempt!(
        egress_socks5_name,
        "ask by SOCKS5 for an address in the place of a name"
    )
    .with(Network),
    attempt!(egress_socks5_bind, "have the proxy listen by SOCKS5").with(Network),
    attempt!(
        egress_socks5_udp,
        "have the proxy relay datagrams by SOCKS5"
    )
    .with(Network),
    attempt!(
        egress_front,
        "ask an allowed server for a forbidden name in TLS"
    )
    .with(Network),
    attempt!(
        egress_front_split,
        "do the same with a hello in pieces of one byte"
    )
    .with(Network),
    attempt!(
        egress_front_proxied,
        "do the same through CONNECT, with the hello sent along"
    )
    .with(Network),
];

/// RFC 9110, section 9.3.6.
fn connect_to(authority: &str) -> Verdict {
    ask_proxy(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
}

/// Every one of several has to be stopped.
fn any(tries: impl IntoIterator<Item = String>, ask: impl Fn(&str) -> Verdict) -> Verdict {
    let (mut count, mut last) = (0, String::new());
    for asked in tries {
        count += 1;
        match ask(&asked) {
            Err(Stop::Blocked(why)) => last = format!("{asked}: {why}"),
            verdict => return verdict,
        }
    }
    blocked(format!("all {count}, the last one {last}"))
}

fn egress_connect() -> Verdict {
    connect_to(&format!("{FORBIDDEN}:{PORT}"))
}

fn egress_connect_name() -> Verdict {
    connect_to(&format!("{FRONTED}:{PORT}"))
}

/// inet_aton(3), RFC 4291, RFC 6052, RFC 3056.
fn egress_connect_metadata() -> Verdict {
    let spelt = [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "metadata.wild.test",
    ];
    any(spelt.map(|host| format!("{host}:{PORT}")), connect_to)
}

/// The same of an address that nothing but the policy refuses.
fn egress_connect_spellings() -> Verdict {
    let number = u32::from(FORBIDDEN);
    let [a, b, c, d] = FORBIDDEN.octets();
    let spelt = [
        format!("{number}"),
        format!("{number:#x}"),
        format!("{number:#o}").replace("0o", "0"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", number & 0xff_ffff),
        format!("{a}.{b}.{}", number & 0xffff),
        format!("00{a}.{b}.{c}.{d}"),
        format!("[::ffff:{FORBIDDEN}]"),
        format!("%31{}", &FORBIDDEN.to_string()[1..]),
        format!("{PERMITTED}%00.{FORBIDDEN}"),
    ];
    any(spelt.map(|host| format!("{host}:{PORT}")), connect_to)
}

/// DNS rebinding: the pattern is about names, and what they lead to is the attacker's.
fn egress_connect_internal() -> Verdict {
    let names = ["inner", "metadata", "loop", "proxy"];
    any(
        names.map(|name| format!("{name}.wild.test:{PORT}")),
        connect_to,
    )
}

/// RFC 3986, section 3.2.1: what is before the @ is no host.
fn egress_connect_userinfo() -> Verdict {
    let forms = [
        format!("{PERMITTED}@{FORBIDDEN}:{PORT}"),
        format!("{PERMITTED}:{PORT}@{FORBIDDEN}:{PORT}"),
        format!("{PERMITTED}#@{FORBIDDEN}:{PORT}"),
        format!("{PERMITTED}\\@{FORBIDDEN}:{PORT}"),
    ];
    any(forms, connect_to)
}

fn smuggle(between: &str) -> Verdict {
    ask_proxy(
        format!(
            "CONNECT {PERMITTED}:{PORT} HTTP/1.1\r\nHost: {PERMITTED}:{PORT}\r\n{between}CONNECT {FORBIDDEN}:{PORT} HTTP/1.1\r\nHost: {FORBIDDEN}:{PORT}\r\n\r\n"
        )
        .as_bytes(),
    )
}

/// RFC 9112, section 2.2.
fn egress_smuggle_line_feed() -> Verdict {
    smuggle("X: y\n\n")
}

fn egress_smuggle_carriage_return() -> Verdict {
    smuggle("X: y\r\r")
}

/// RFC 9112, section 5.2.
fn egress_smuggle_fold() -> Verdict {
    smuggle("X: y\r\n ")
}

/// A CONNECT has none; RFC 9110, section 9.3.6.
fn egress_smuggle_body() -> Verdict {
    smuggle("Content-Length: 300\r\n\r\n")
}

fn egress_absolute() -> Verdict {
    let to = format!("{FORBIDDEN}:{PORT}");
    ask_proxy(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
}

/// RFC 9112, section 3.2.2: the target counts, and a server behind a careless proxy sees Host.
fn egress_absolute_host() -> Verdict {
    ask_proxy(
        format!("GET http://{PERMITTED}:{PORT}/ HTTP/1.1\r\nHost: {FORBIDDEN}:{PORT}\r\n\r\n")
            .as_bytes(),
    )
}

/// RFC 7540, section 3.2.
fn egress_upgrade() -> Verdict {
    ask_proxy(
        format!("GET / HTTP/1.1\r\nHost: {FORBIDDEN}:{PORT}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
            .as_bytes(),
    )
}

/// RFC 9113, section 3.4: the preface looks like a request, and whatever comes after it may too.
fn egress_preface() -> Verdict {
    ask_proxy(
        format!(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nCONNECT {FORBIDDEN}:{PORT} HTTP/1.1\r\nHost: {FORBIDDEN}:{PORT}\r\n\r\n"
        )
        .as_bytes(),
    )
}

fn egress_socks4() -> Verdict {
    let mut said = vec![4, 1];
    said.extend(PORT.to_be_bytes());
    said.extend(FORBIDDEN.octets());
    said.push(0);
    ask_proxy(&said)
}

fn egress_socks4_name() -> Verdict {
    let mut said = vec![4, 1];
    said.extend(PORT.to_be_bytes());
    said.extend([0, 0, 0, 1, 0]);
    said.extend(FRONTED.as_bytes());
    said.push(0);
    ask_proxy(&said)
}

/// RFC 1928: a command, and a destination as it is on the wire.
fn socks5(command: u8, kind: u8, host: &[u8]) -> Vec<u8> {
    let mut said = vec![5, 1, 0, 5, command, 0, kind];
    if kind == 3 {
        said.push(host.len() as u8);
    }
    said.extend(host);
    said.extend(PORT.to_be_bytes());
    said
}

fn egress_socks5() -> Verdict {
    ask_proxy(&socks5(1, 1, &FORBIDDEN.octets()))
}

fn egress_socks5_metadata() -> Verdict {
    let embedded = [0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0xa9fe];
    let embedded = std::net::Ipv6Addr::from(embedded).octets();
    let asked: [(u8, &[u8]); 5] = [
        (4, &embedded),
        (4, &METADATA.to_ipv6_mapped().octets()),
        (3, b"169.254.169.254"),
        (3, b"0xa9fea9fe"),
        (1, &METADATA.octets()),
    ];
    let mut last = String::new();
    for (kind, host) in asked {
        match ask_proxy(&socks5(1, kind, host)) {
            Err(Stop::Blocked(why)) => last = why,
            verdict => return verdict,
        }
    }
    blocked(last)
}

fn egress_socks5_name() -> Verdict {
    let spelt = [
        FORBIDDEN.to_string(),
        format!("{}", u32::from(FORBIDDEN)),
        format!("{PERMITTED}\0{FORBIDDEN}"),
        FRONTED.to_uppercase(),
    ];
    any(spelt, |name| ask_proxy(&socks5(1, 3, name.as_bytes())))
}

/// The reply to a command; crossed if it is success.
fn command(number: u8) -> Result<(std::net::TcpStream, [u8; 10]), Stop> {
    let mut stream = proxy()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .prepare("SO_RCVTIMEO")?;
    stream
        .write_all(&socks5(number, 1, &FORBIDDEN.octets()))
        .attack("write")?;
    let (mut method, mut reply) = ([0; 2], [0; 10]);
    stream.read_exact(&mut method).attack("read")?;
    stream.read_exact(&mut reply).attack("read")?;
    match reply[1] {
        0 => Ok((stream, reply)),
        code => Err(Stop::Blocked(format!("the proxy replied {code}"))),
    }
}

/// A port of the host that everybody could come in by.
fn egress_socks5_bind() -> Verdict {
    command(2)?;
    Ok("the proxy listens for us".to_owned())
}

fn egress_socks5_udp() -> Verdict {
    let (_held, reply) = command(3)?;
    let port = u16::from_be_bytes([reply[8], reply[9]]);
    let mut datagram = vec![0, 0, 0, 1];
    datagram.extend(FORBIDDEN.octets());
    datagram.extend(PORT.to_be_bytes());
    datagram.extend(b"egress-relayed");
    let socket = UdpSocket::bind("127.0.0.1:0").prepare("bind")?;
    socket
        .send_to(&datagram, ("127.0.0.1", port))
        .attack("sendto")?;
    stage::received("egress-relayed")
}

/// A ClientHello with a server name and nothing that isn't needed (RFC 8446, RFC 6066).
fn hello(name: &str) -> Vec<u8> {
    let counted = |body: &[u8]| [&(body.len() as u16).to_be_bytes(), body].concat();
    let names = [&[0][..], &counted(name.as_bytes())].concat();
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &counted(body)].concat();
    let extensions = [
        extension(0, &counted(&names)),
        extension(10, &[0, 2, 0, 29]),
        extension(13, &[0, 2, 4, 3]),
        extension(43, &[2, 3, 4]),
        extension(51, &[&[0, 36, 0, 29, 0, 32][..], &[7; 32]].concat()),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &counted(&extensions),
    ]
    .concat();
    let handshake = [&[1, 0][..], &counted(&body)].concat();
    [&[22, 3, 1][..], &counted(&handshake)].concat()
}

/// Domain fronting: the address is allowed, the server behind it has other names, too.
fn egress_front() -> Verdict {
    front(|stream, hello| stream.write_all(hello))
}

/// What looks at whole packets sees no name.
fn egress_front_split() -> Verdict {
    front(|stream, hello| hello.iter().try_for_each(|byte| stream.write_all(&[*byte])))
}

fn front(send: impl Fn(&mut std::net::TcpStream, &[u8]) -> std::io::Result<()>) -> Verdict {
    let mut stream =
        std::net::TcpStream::connect((PERMITTED, TLS_PORT)).prepare("connect to PERMITTED")?;
    match greeting(stream.as_raw_fd(), "PERMITTED") {
        Err(Stop::Blocked(said)) if said.contains("9 bytes") => {}
        _ => return Err(Stop::Inconclusive("PERMITTED gave no welcome".to_owned())),
    }
    let _ = stream.set_nodelay(true);
    send(&mut stream, &hello(FRONTED)).attack("write")?;
    hear(&stream, "a server in front")
}

fn egress_front_proxied() -> Verdict {
    let to = format!("{PERMITTED}:{TLS_PORT}");
    let head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    ask_proxy(&[head.as_bytes(), &hello(FRONTED)].concat())
}
