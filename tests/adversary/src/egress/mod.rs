//! Reaching the network past a policy that allows one thing only; see `world` for what that is.
//!
//! The attempts run as the one program that is allowed something, or start the other one: a wall
//! that refused everything would be no success. What identity can't tell apart is not here: an
//! allowed program that does as an attacker says is the allowed program.

mod credentials;
mod direct;
mod flood;
mod names;
mod options;
mod programs;
mod proxied;
mod races;

pub(crate) use programs::{hammer, lend, reach_after, reach_and_tell};

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use crate::attempt::{Attempt, Stop, Verdict};
use crate::call::{Step, sys};
use crate::sockets::greeting;
use crate::world::{PORT, PROXY};

pub(crate) const GROUPS: &[&[Attempt]] = &[
    direct::ATTEMPTS,
    options::ATTEMPTS,
    races::ATTEMPTS,
    proxied::ATTEMPTS,
    names::ATTEMPTS,
    programs::ATTEMPTS,
    flood::ATTEMPTS,
    credentials::ATTEMPTS,
];

fn at(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), PORT)
}

/// Connects as any program does, and waits for what the server says.
fn reach(to: SocketAddr) -> Verdict {
    let stream = TcpStream::connect(to).attack("connect")?;
    greeting(stream.as_raw_fd(), &to.to_string())
}

/// A connection to the one address that is allowed, which must work for an attempt to mean
/// anything.
fn permitted() -> Result<TcpStream, Stop> {
    let stream = TcpStream::connect(at(crate::world::PERMITTED)).prepare("connect to PERMITTED")?;
    match greeting(stream.as_raw_fd(), "PERMITTED") {
        Err(Stop::Blocked(said)) if said.contains("9 bytes") => Ok(stream),
        Err(Stop::Blocked(why)) => Err(Stop::Inconclusive(why)),
        Err(stop) => Err(stop),
        Ok(how) => Err(Stop::Inconclusive(how)),
    }
}

fn proxy() -> Result<TcpStream, Stop> {
    TcpStream::connect(PROXY).prepare("connect to the proxy")
}

/// Says something to the proxy; crossed if the token comes back. A proxy may say something of its
/// own first, so this reads until the end or a second's silence.
fn ask_proxy(said: &[u8]) -> Verdict {
    let mut stream = proxy()?;
    stream.write_all(said).attack("write")?;
    hear(&stream, "the proxy")
}

fn hear(stream: &TcpStream, from: &str) -> Verdict {
    loop {
        match greeting(stream.as_raw_fd(), from) {
            Err(Stop::Blocked(why)) if why.ends_with("bytes without the token") => {
                if why.contains(": 0 bytes") {
                    return Err(Stop::Blocked(why));
                }
            }
            verdict => return verdict,
        }
    }
}

/// socket(2), whose refusal is the wall's work.
fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32, Stop> {
    let fd = sys!(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol)).attack("socket")?;
    Ok(fd as i32)
}

/// struct sockaddr_in and sockaddr_in6; ip(7), ipv6(7).
fn sockaddr(to: SocketAddr) -> (libc::sockaddr_storage, u32) {
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let at = std::ptr::from_mut(&mut storage);
    let length = match to {
        SocketAddr::V4(to) => {
            let address = unsafe { &mut *at.cast::<libc::sockaddr_in>() };
            address.sin_family = libc::AF_INET as u16;
            address.sin_port = to.port().to_be();
            address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            let address = unsafe { &mut *at.cast::<libc::sockaddr_in6>() };
            address.sin6_family = libc::AF_INET6 as u16;
            address.sin6_port = to.port().to_be();
            address.sin6_addr.s6_addr = to.ip().octets();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as u32)
}

fn connect(fd: i32, to: SocketAddr) -> std::io::Result<i64> {
    let (address, length) = sockaddr(to);
    sys!(libc::connect(
        fd,
        std::ptr::from_ref(&address).cast(),
        length
    ))
}
