//! Connections into a virtual machine: whoever runs it behind the wall has its only way in.
//!
//! A connection begins with a line that says what is wanted, and goes on after a line that says
//! whether there is that. Neither is longer than [`LONGEST`].
//!
//! | wanted | answer | then |
//! |---|---|---|
//! | `agent`, `port 80` | `open`, `closed` | the connection is to there |
//! | `write memory`, `write files` | `written` | the machine's folder [`WRITTEN`] is a snapshot of it |
//! | `sleep memory`, `sleep files` | `asleep` | `end`: it ends, and can be continued by its files. If the connection ends without that, it goes on |
//!
//! Any other answer is why not.

use casemate_core::error::Error;
use casemate_core::node::{Door, Refusal};
use casemate_core::sandbox::Keep;
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

/// How long it may take to write a machine.
const WRITING: Duration = Duration::from_secs(120);

/// Where whoever runs a machine puts a snapshot, among the machine's own files.
pub const WRITTEN: &str = "written";
/// What is said when that is done.
pub const IS_WRITTEN: &str = "written";
/// What is said when a machine can be continued by its files.
pub const IS_ASLEEP: &str = "asleep";
/// What is said to it then.
pub const END: &str = "end";

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
    let line = match to {
        Door::Agent => "agent".to_owned(),
        Door::Port(port) => format!("port {port}"),
    };
    let step = "reach into a virtual machine";
    let (stream, answer) = ask(socket, &line, step, patience).await?;
    match (answer.as_str(), to) {
        (OPEN, _) => {
            let stream = stream.into_std();
            Ok(stream.map_err(|error| Error::io(step, &error))?.into())
        }
        (CLOSED, Door::Port(port)) => Err(Refusal::Closed(port)),
        (why, _) => Err(declined(step, why)),
    }
}

/// Has a machine written.
pub(super) async fn write(socket: OwnedFd, keep: Keep) -> Result<(), Refusal> {
    let step = "write a virtual machine";
    let line = match keep {
        Keep::Memory => "write memory",
        Keep::Files => "write files",
    };
    match ask(socket, line, step, WRITING).await?.1.as_str() {
        IS_WRITTEN => Ok(()),
        why => Err(declined(step, why)),
    }
}

/// Puts a machine to sleep. It goes on if the stream is dropped, and ends when it is [told](end).
pub(super) async fn sleep(socket: OwnedFd, keep: Keep) -> Result<UnixStream, Refusal> {
    let step = "put a virtual machine to sleep";
    let line = match keep {
        Keep::Memory => "sleep memory",
        Keep::Files => "sleep files",
    };
    let (stream, answer) = ask(socket, line, step, WRITING).await?;
    match answer.as_str() {
        IS_ASLEEP => Ok(stream),
        why => Err(declined(step, why)),
    }
}

/// Ends a machine that is asleep, and waits for whoever runs it to hang up.
pub(super) async fn end(mut stream: UnixStream) -> std::io::Result<()> {
    stream.write_all(format!("{END}\n").as_bytes()).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(drop)
}

fn declined(step: &str, why: &str) -> Refusal {
    Error::rule(step, why.escape_debug().to_string()).into()
}

async fn ask(
    socket: OwnedFd,
    line: &str,
    step: &str,
    patience: Duration,
) -> Result<(UnixStream, String), Refusal> {
    let fail = |error: std::io::Error| Error::io(step, &error);
    let asked = async {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).map_err(fail)?;
        let mut stream = UnixStream::from_std(socket).map_err(fail)?;
        let line = format!("{line}\n");
        stream.write_all(line.as_bytes()).await.map_err(fail)?;
        let answer = line_of(&mut stream).await.map_err(fail)?;
        Ok((stream, answer))
    };
    let asked = tokio::time::timeout(patience, asked).await;
    asked.map_err(|_| Refusal::Slow(patience))?
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
