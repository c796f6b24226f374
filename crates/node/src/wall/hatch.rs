//! Connections into a virtual machine: whoever runs it behind the wall has its only way in.
//!
//! A connection begins with a line that says where to, and goes on after a line that says whether it
//! got there. Neither is longer than [`LONGEST`].

use casemate_core::error::Error;
use casemate_core::node::{Door, Refusal};
use rustix::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a port may take to answer. What runs in the machine may be slow, or gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same for the agent, which waits for its kernel first.
const BOOT: Duration = Duration::from_secs(120);

/// The longest line, bytes.
pub const LONGEST: usize = 256;

/// What is said of a connection that is there.
pub const OPEN: &str = "open";
/// What is said if nothing listens on a port.
pub const CLOSED: &str = "closed";

/// Says where to, on a connection to whoever runs the machine.
pub(super) async fn dial(socket: OwnedFd, to: Door) -> Result<OwnedFd, Refusal> {
    let patience = match to {
        Door::Agent => BOOT,
        Door::Port(_) => PATIENCE,
    };
    let asked = tokio::time::timeout(patience, ask(socket, to)).await;
    asked.map_err(|_| Refusal::Slow(patience))?
}

async fn ask(socket: OwnedFd, to: Door) -> Result<OwnedFd, Refusal> {
    let step = "reach into a virtual machine";
    let fail = |error: std::io::Error| Error::io(step, &error);
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).map_err(fail)?;
    let mut stream = UnixStream::from_std(socket).map_err(fail)?;
    let line = match to {
        Door::Agent => "agent\n".to_owned(),
        Door::Port(port) => format!("port {port}\n"),
    };
    stream.write_all(line.as_bytes()).await.map_err(fail)?;
    let answer = line_of(&mut stream).await.map_err(fail)?;
    match (answer.as_str(), to) {
        (OPEN, _) => Ok(stream.into_std().map_err(fail)?.into()),
        (CLOSED, Door::Port(port)) => Err(Refusal::Closed(port)),
        (why, _) => Err(Error::rule(step, why.escape_debug().to_string()).into()),
    }
}

/// A line, byte by byte: what follows it is for somebody else.
///
/// # Errors
/// The stream ended first, or the line is longer than [`LONGEST`].
pub async fn line_of(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ if line.len() == LONGEST => {
                return Err(std::io::Error::other("a line that doesn't end"));
            }
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &str, to: Door) -> (String, Result<OwnedFd, Refusal>) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        theirs.write_all(answer.as_bytes()).await.unwrap();
        let dialled = dial(ours.into(), to).await;
        let asked = line_of(&mut theirs).await.unwrap();
        (asked, dialled)
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_the_callers() {
        let (asked, dialled) = answered("open\nHTTP", Door::Agent).await;
        assert_eq!(asked, "agent");
        let socket = std::os::unix::net::UnixStream::from(dialled.unwrap());
        let mut stream = UnixStream::from_std(socket).unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_failure() {
        let (asked, dialled) = answered("closed\n", Door::Port(80)).await;
        assert_eq!(asked, "port 80");
        assert_eq!(dialled.unwrap_err(), Refusal::Closed(80));
        let (_, dialled) = answered("its agent\u{1b} is gone\n", Door::Agent).await;
        let refusal = dialled.unwrap_err().to_string();
        assert!(
            refusal.contains("is gone") && !refusal.contains('\u{1b}'),
            "{refusal}"
        );
        let endless = "x".repeat(LONGEST + 1);
        let (_, dialled) = answered(&endless, Door::Agent).await;
        assert!(matches!(dialled, Err(Refusal::Failed(_))));
    }
}
