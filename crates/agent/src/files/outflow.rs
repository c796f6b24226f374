//! A body that is read from a disk as its client takes it.
//!
//! One piece is on its way to the client while the next is read, so the memory that a download
//! takes is two pieces, however long the file and however slow the client.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes of a piece.
const PIECE: usize = 256 * 1024;

/// A body of what `R` has to give.
pub(super) struct Outflow<R> {
    /// The piece that is being read; none after the last.
    next: Option<JoinHandle<io::Result<(R, Bytes)>>>,
    /// What is left, if that was promised.
    left: Option<u64>,
}

impl<R: Read + Send + 'static> Outflow<R> {
    /// So many bytes. If there are fewer, the body ends with an error: its client was promised
    /// them.
    pub(super) fn exactly(source: R, length: u64) -> Self {
        Self {
            next: (length > 0).then(|| read(source, Some(length))),
            left: Some(length),
        }
    }

    /// Everything until the end.
    pub(super) fn until_end(source: R) -> Self {
        Self {
            next: Some(read(source, None)),
            left: None,
        }
    }
}

fn read<R: Read + Send + 'static>(
    mut source: R,
    left: Option<u64>,
) -> JoinHandle<io::Result<(R, Bytes)>> {
    let most = left.unwrap_or(u64::MAX).min(PIECE as u64);
    spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE.min(usize::try_from(most).unwrap_or(PIECE)));
        source.by_ref().take(most).read_to_end(&mut piece)?;
        Ok((source, piece.into()))
    })
}

impl<R: Read + Send + Unpin + 'static> Body for Outflow<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(reading) = &mut self.next else {
            return Poll::Ready(None);
        };
        let read_piece = ready!(Pin::new(reading).poll(context));
        self.next = None;
        let (source, piece) = match read_piece.map_err(io::Error::other).flatten() {
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        if let Some(left) = self.left {
            if piece.is_empty() {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter");
                return Poll::Ready(Some(Err(error)));
            }
            self.left = Some(left - piece.len() as u64);
        }
        match self.left {
            Some(0) => {}
            None if piece.is_empty() => return Poll::Ready(None),
            left => self.next = Some(read(source, left)),
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
