//! Using up what the proxy has. The policy must still hold then, and other programs must still
//! get what they are allowed: an attacker that takes the network from them has won something, too.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;

use super::{at, connect, reach, socket};
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, sys};
use crate::stage;
use crate::world::{FORBIDDEN, HELPED, NAME_SERVER, PROXY};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        egress_flood_refused,
        "open 5,000 connections that are refused, then one more"
    )
    .with(Network),
    attempt!(
        egress_flood_slow,
        "keep 5,000 slow requests at the proxy, then connect"
    )
    .with(Network),
    attempt!(
        egress_flood_queries,
        "ask 5,000 DNS queries at once, then connect"
    )
    .with(Network),
];

const MANY: usize = 5000;

/// Descriptors for all of them.
fn room() -> Result<(), Stop> {
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    sys!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit)).prepare("getrlimit")?;
    limit.rlim_cur = limit.rlim_max;
    sys!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit)).prepare("setrlimit")?;
    Ok(())
}

fn begin(to: SocketAddr) -> Option<TcpStream> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).ok()?;
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    match connect(stream.as_raw_fd(), to) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => None,
        _ => Some(stream),
    }
}

/// What holds after a flood: the way is closed, and the other program has its own.
fn after(count: usize) -> Verdict {
    let stopped = match reach(at(FORBIDDEN)) {
        Err(Stop::Blocked(why)) => why,
        verdict => return verdict,
    };
    let other = Command::new(stage::shared("program")?)
        .arg("--reach")
        .arg(at(HELPED).to_string())
        .output()
        .prepare("start the other program")?;
    if other.status.code() != Some(0) {
        return Ok(format!(
            "{count} connections took the network from the other program: {}",
            String::from_utf8_lossy(&other.stdout).trim()
        ));
    }
    blocked(format!("after {count} connections: {stopped}"))
}

fn egress_flood_refused() -> Verdict {
    room()?;
    let held: Vec<_> = (0..MANY).filter_map(|_| begin(at(FORBIDDEN))).collect();
    after(held.len())
}

/// Heads that never end; as in Slowloris.
fn egress_flood_slow() -> Verdict {
    room()?;
    let mut held = Vec::new();
    for _ in 0..MANY {
        if let Some(mut stream) = begin(PROXY.into()) {
            let _ = stream.write_all(b"CONNECT ");
            held.push(stream);
        }
    }
    after(held.len())
}

fn egress_flood_queries() -> Verdict {
    let socket = UdpSocket::bind("0.0.0.0:0").prepare("bind")?;
    let query = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x09permitted\x04test\0\0\x01\0\x01";
    let mut sent = 0;
    for _ in 0..MANY {
        sent += usize::from(socket.send_to(query, (NAME_SERVER, 53)).is_ok());
    }
    after(sent)
}
