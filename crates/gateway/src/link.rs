//! A connection of HTTP/1.1 into a sandbox.

use crate::answer::Body;
use crate::class::Class;
use crate::metrics::Counted;
use crate::paced::Paced;
use crate::reads::Reads;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinHandle};

use casemate_core::node::Door;
use casemate_core::sandbox::SandboxId;

/// A response's head, in bytes, and what is read at once of interactive classes: they have little to
/// say at a time, and what is held back for them is latency.
const SMALL: usize = 64 << 10;

/// What a connection can be used for again: never another sandbox, door or host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) id: SandboxId,
    pub(crate) door: Door,
    /// What programs are told the host is; the agent doesn't care.
    pub(crate) host: Option<HeaderValue>,
}

/// A connection; dropping it closes it.
pub(crate) struct Link {
    pub(crate) way: Way,
    pub(crate) class: Class,
    sender: SendRequest<Body>,
    driver: AbortHandle,
    /// Its place among those of its sandbox and class, unless it's parked.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// When it was parked.
    pub(crate) since: Instant,
    /// It has carried a request before, so its server may just be closing it.
    pub(crate) used: bool,
    /// Counts it as open, or as idle.
    pub(crate) counted: Counted,
}

impl Link {
    pub(crate) async fn new(
        socket: Paced,
        way: Way,
        class: Class,
        place: OwnedSemaphorePermit,
        counted: Counted,
    ) -> hyper::Result<Self> {
        let reads = match class {
            Class::Pty | Class::Rpc => Reads::of(SMALL),
            Class::Files | Class::Port => Reads::new(),
        };
        let mut builder = Builder::new();
        builder.max_buf_size(reads.size).max_header_size(SMALL);
        let (sender, connection) = builder.handshake(TokioIo::new(Heard(socket))).await?;
        let driver: JoinHandle<()> = tokio::spawn(async move {
            // Why it ended is told to whoever waits for its response.
            let _ = connection.with_upgrades().await;
            drop(reads);
        });
        Ok(Self {
            way,
            class,
            sender,
            driver: driver.abort_handle(),
            place: Some(place),
            since: Instant::now(),
            used: false,
            counted,
        })
    }

    /// Sends a request; it comes back if none of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        self.sender.try_send_request(request).await
    }

    /// True if it can carry a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until it can; false if it never will.
    pub(crate) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// A socket whose other end is heard although it takes nothing more: a program that refuses an upload
/// answers before it has read all, and closes. What it's still sent is dropped; when there is no
/// answer either, reading says so.
struct Heard(Paced);

fn taken(written: io::Result<usize>, length: usize) -> io::Result<usize> {
    match written {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            Ok(length)
        }
        written => written,
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        written.map(|written| taken(written, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        let written = Pin::new(&mut self.0).poll_write_vectored(cx, parts);
        written.map(|written| taken(written, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
