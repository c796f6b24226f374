//! Connections of any kind, and the parts of them that HTTP/1.1 and WebSocket need.

use crate::http1::{HeadScanner, Limits, Malformed};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::time::timeout;

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;

/// Both directions of a connection, with TLS or without.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// See [`Duplex`].
pub(super) type Stream = Box<dyn Duplex>;

/// What arrives. The buffer holds at most a head and a piece.
pub(super) struct Incoming {
    half: ReadHalf<Stream>,
    pub(super) buffer: Vec<u8>,
}

/// What is sent.
pub(super) struct Outgoing {
    half: WriteHalf<Stream>,
    patience: Duration,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The other side has closed, between messages.
    Closed,
    /// It can't be understood.
    Malformed(Malformed),
    /// The connection broke, or was too slow.
    Broken(io::Error),
}

/// Takes a connection apart. `patience` is for each write.
pub(super) fn split(stream: Stream, patience: Duration) -> (Incoming, Outgoing) {
    let (read, write) = tokio::io::split(stream);
    let incoming = Incoming {
        half: read,
        buffer: Vec::new(),
    };
    (
        incoming,
        Outgoing {
            half: write,
            patience,
        },
    )
}

impl Incoming {
    /// Waits for more bytes; how many there were, 0 at the end.
    pub(super) async fn fill(&mut self, patience: Duration) -> io::Result<usize> {
        self.buffer.reserve(PIECE);
        let read = self.half.read_buf(&mut self.buffer);
        timeout(patience, read).await?
    }

    /// Reads a head: `first` for its first byte, `whole` for the rest, however it trickles in.
    pub(super) async fn head(
        &mut self,
        first: Duration,
        whole: Duration,
        limits: &Limits,
    ) -> Result<Vec<u8>, NoHead> {
        if self.buffer.is_empty() && self.fill(first).await.map_err(NoHead::Broken)? == 0 {
            return Err(NoHead::Closed);
        }
        timeout(whole, self.scan(limits, whole))
            .await
            .map_err(|late| NoHead::Broken(late.into()))?
    }

    async fn scan(&mut self, limits: &Limits, patience: Duration) -> Result<Vec<u8>, NoHead> {
        let mut scanner = HeadScanner::default();
        loop {
            match scanner.scan(&self.buffer, limits) {
                Ok(Some(length)) => return Ok(self.buffer.drain(..length).collect()),
                Ok(None) => {}
                Err(malformed) => return Err(NoHead::Malformed(malformed)),
            }
            if self.fill(patience).await.map_err(NoHead::Broken)? == 0 {
                return Err(NoHead::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Whether nothing has arrived and the other side hasn't closed, as of now.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let mut read = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let polled = Pin::new(&mut self.half).poll_read(&mut context, &mut read);
        self.buffer.is_empty() && matches!(polled, Poll::Pending)
    }
}

impl Outgoing {
    /// Writes all of it, to the other side and not only to a buffer of TLS.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.half.write_all(bytes).await?;
            self.half.flush().await
        };
        timeout(self.patience, written).await?
    }

    /// Says that nothing follows.
    pub(super) async fn end(&mut self) {
        let _ = timeout(self.patience, self.half.shutdown()).await;
    }
}

/// Bytes that were read already, and after them the rest of the connection.
pub(super) struct Prefixed<S> {
    first: Vec<u8>,
    at: usize,
    rest: S,
}

impl<S> Prefixed<S> {
    pub(super) fn new(first: Vec<u8>, rest: S) -> Self {
        Self { first, at: 0, rest }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.first[self.at..];
        if left.is_empty() {
            return Pin::new(&mut self.rest).poll_read(context, into);
        }
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(context)
    }
}
