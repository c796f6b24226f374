//! Sockets into a sandbox.

use crate::settings::Patience;
use casemate_core::error::Error;
use casemate_core::node::{Door, Node, Refusal};
use casemate_core::sandbox::SandboxId;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

/// How often a port that refuses is dialled: a server that was just started may not listen yet.
const TRIES: u32 = 3;

/// A connected stream socket of either family.
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Dials; nothing of a request has been sent yet, so a refusal can be followed by another try.
pub(crate) async fn dial(
    node: &dyn Node,
    id: &SandboxId,
    to: Door,
    patience: &Patience,
) -> Result<Socket, Refusal> {
    let mut tries = 1;
    loop {
        let dialled = timeout(patience.dial, node.dial(id, to)).await;
        match dialled.unwrap_or(Err(Refusal::Slow(patience.dial))) {
            Ok(fd) => return Socket::new(fd).map_err(|error| failed(id, &error)),
            Err(Refusal::Closed(_)) if tries < TRIES => {
                sleep(patience.backoff * tries).await;
                tries += 1;
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

fn failed(id: &SandboxId, error: &io::Error) -> Refusal {
    Refusal::Failed(Error::io("use the connection that was dialled", error).on(id))
}

impl Socket {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        match socket_domain(&fd)? {
            AddressFamily::UNIX => {
                let stream = std::os::unix::net::UnixStream::from(fd);
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(UnixStream::from_std(stream)?))
            }
            AddressFamily::INET | AddressFamily::INET6 => {
                let stream = std::net::TcpStream::from(fd);
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(TcpStream::from_std(stream)?))
            }
            family => Err(io::Error::other(format!(
                "family {} of sockets",
                family.as_raw()
            ))),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
