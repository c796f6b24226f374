//! A connection to a port of the guest, by Firecracker's socket: `CONNECT port\n`, and
//! `OK hostport\n` when the guest has taken it (`docs/vsock.md` in Firecracker's source).
//!
//! Nobody answers while the machine is paused, and a connection ends when it is written to disk or
//! restored: the guest's end listens again.

use super::AGENT;
use crate::monitor::process::connect;
use casemate_core::error::{Error, Result};
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The longest answer, bytes.
const LONGEST: usize = 32;

pub(super) async fn reach(root: &Path, port: u32, patience: Duration) -> Result<OwnedFd> {
    let fail = |error: &std::io::Error| Error::io("connect to the guest", error);
    let socket = connect(root, AGENT).map_err(|error| fail(&error))?;
    let socket = UnixStream::from_std(net::UnixStream::from(socket));
    let mut socket = socket.map_err(|error| fail(&error))?;
    match timeout(patience, greet(&mut socket, port)).await {
        Ok(greeted) => greeted?,
        Err(_) => {
            let why = format!("it doesn't answer in {} s", patience.as_secs_f32());
            return Err(Error::rule("connect to the guest", why)
                .hint("a machine that is paused answers when it is resumed"));
        }
    }
    let socket = socket.into_std().map_err(|error| fail(&error))?;
    Ok(socket.into())
}

async fn greet(socket: &mut UnixStream, port: u32) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("connect to the guest", error);
    let wish = format!("CONNECT {port}\n");
    socket
        .write_all(wish.as_bytes())
        .await
        .map_err(|error| fail(&error))?;
    let mut line = Vec::new();
    // Byte by byte: what follows is the guest's.
    loop {
        let mut byte = [0];
        match socket.read(&mut byte).await.map_err(|error| fail(&error))? {
            0 => return Err(refused(&format!("nobody listens at its port {port}"))),
            _ if byte == [b'\n'] => break,
            _ => line.push(byte[0]),
        }
        if line.len() > LONGEST {
            return Err(refused("the answer is too long"));
        }
    }
    let is_taken = line
        .strip_prefix(b"OK ")
        .is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    match is_taken {
        true => Ok(()),
        false => Err(refused("the answer makes no sense")),
    }
}

fn refused(why: &str) -> Error {
    Error::rule("connect to the guest", why)
}
