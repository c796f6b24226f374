//! A stream's handle, the same on both sides.

use crate::Door;
use crate::ended::{Code, Ended};
use crate::flow::Flow;
use crate::shared::Shared;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One stream: bytes both ways, each way with an end of its own.
///
/// Flushing waits until the session has taken what was written, shutting down also for the end
/// behind it; both may wait for the other side to read. A handle that is dropped before both sides
/// have ended cuts the stream off, and what was written and not flushed with it.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    door: Door,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, id: u32, door: Door) -> Self {
        Self { shared, id, door }
    }

    /// What it leads to.
    pub fn door(&self) -> Door {
        self.door
    }

    /// The guest's: says that there is somebody behind the door. Any other answer says so too.
    pub fn accept(&mut self) {
        self.shared.with(self.id, |flow| ((), flow.accept()));
    }

    /// The host's: waits until there is somebody behind the door.
    ///
    /// # Errors
    /// There is nobody ([`Code::of`] the error says why), or the session is over.
    pub async fn opened(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.ask(|flow| (flow.poll_opened(cx), false))).await
    }

    /// Cuts it off, both ways.
    pub fn reset(self, code: Code) {
        self.shared.let_go(self.id, code);
        // The drop that follows finds nothing to do, or what is done already.
    }

    fn ask<T>(
        &self,
        ask: impl FnOnce(&mut Flow) -> (Poll<io::Result<T>>, bool),
    ) -> Poll<io::Result<T>> {
        // A stream stays as long as its handle.
        let gone = || Poll::Ready(Err(self.shared.ended().unwrap_or(Ended::Left).error()));
        self.shared.with(self.id, ask).unwrap_or_else(gone)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.ask(|flow| flow.poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.ask(|flow| {
            let written = flow.poll_write(cx, bytes);
            let is_due = matches!(written, Poll::Ready(Ok(count)) if count > 0);
            (written, is_due)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|flow| (flow.poll_flush(cx), false))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.ask(|flow| (Poll::Ready(Ok(())), flow.end())))?;
        self.poll_flush(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.let_go(self.id, Code::Dropped);
    }
}
