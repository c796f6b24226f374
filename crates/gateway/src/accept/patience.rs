//! A client's connection that isn't waited for too long.
//!
//! ```text
//!  accepted ──▶ Head ──(a request)──▶ busy ──(its response has gone)──▶ Idle ──(a byte)──▶ Head …
//! ```
//!
//! hyper's own limit for a head runs while a connection is idle, too, so it can't tell a client that
//! sends its head byte by byte from one that has nothing to ask just now. Here the limits are part
//! of the stream: a read that takes too long fails.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What the stream and its requests both know.
#[derive(Default)]
struct Requests {
    /// Begun and not over.
    open: AtomicUsize,
    /// Ever begun.
    begun: AtomicUsize,
    /// One of them came by HTTP/2, where bytes between requests aren't a head.
    h2: AtomicBool,
    /// Who read in vain while it was busy, and now has to look at the time.
    reader: Mutex<Option<Waker>>,
}

/// The beginning of requests.
pub(super) struct Beginning(Arc<Requests>);

/// A request that isn't over.
pub(super) struct Busy(Arc<Requests>);

impl Beginning {
    pub(super) fn begin(&self, h2: bool) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Release);
        self.0.h2.fetch_or(h2, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }
}

impl Busy {
    /// It will never be over.
    pub(super) fn stay(self) {
        self.0.open.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(reader) = self.0.reader().take()
        {
            reader.wake();
        }
    }
}

impl Requests {
    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Head,
    Idle,
}

/// How HTTP/2 begins, and no method of HTTP/1.1 (RFC 9113 §3.4).
const PREFACE: [u8; 4] = *b"PRI ";

/// See the module.
pub(super) struct Patient<S> {
    stream: S,
    /// What was looked at already, and is read once more.
    first: Vec<u8>,
    requests: Arc<Requests>,
    head: Duration,
    idle: Duration,
    waiting: Waiting,
    since: Instant,
    /// Requests that had begun when this was last looked at.
    seen: usize,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, head: Duration, idle: Duration, h2: bool) -> (Self, Beginning) {
        let requests = Arc::new(Requests::default());
        requests.h2.store(h2, Ordering::Relaxed);
        let since = Instant::now();
        let patient = Self {
            stream,
            first: Vec::new(),
            requests: Arc::clone(&requests),
            head,
            idle,
            waiting: Waiting::Head,
            since,
            seen: 0,
            alarm: Box::pin(sleep_until(since + head)),
        };
        (patient, Beginning(requests))
    }

    fn is_busy(&self) -> bool {
        self.requests.open.load(Ordering::Acquire) > 0
    }

    /// A byte came.
    fn heard(&mut self) {
        if self.is_busy() {
            return;
        }
        self.look();
        if self.waiting == Waiting::Idle && !self.requests.h2.load(Ordering::Relaxed) {
            (self.waiting, self.since) = (Waiting::Head, Instant::now());
        }
    }

    /// After requests, it's idle.
    fn look(&mut self) {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            (self.waiting, self.since) = (Waiting::Idle, Instant::now());
        }
    }

    /// Nothing came; ready if it has been waited for long enough.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_busy() {
            *self.requests.reader() = Some(cx.waker().clone());
            // It may have been the last until just now.
            if self.is_busy() {
                return Poll::Pending;
            }
        }
        self.look();
        let until = match self.waiting {
            Waiting::Head => self.since + self.head,
            Waiting::Idle => self.since + self.idle,
        };
        if self.alarm.deadline() != until {
            self.alarm.as_mut().reset(until);
        }
        self.alarm.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Whether the client begins as one of HTTP/2 does. Asked before anything was read.
    ///
    /// # Errors
    /// It took too long, or broke off.
    pub(super) async fn is_h2(&mut self) -> io::Result<bool> {
        let mut first = Vec::with_capacity(PREFACE.len());
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let left = (PREFACE.len() - first.len()) as u64;
            if (&mut *self).take(left).read_buf(&mut first).await? == 0 {
                break;
            }
        }
        let is_h2 = first == PREFACE;
        self.first = first;
        Ok(is_h2)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..count]);
            self.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                let late = |()| Err(io::ErrorKind::TimedOut.into());
                self.poll_patience(cx).map(late)
            }
            read => {
                if buffer.filled().len() > before {
                    self.heard();
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
