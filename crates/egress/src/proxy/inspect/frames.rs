//! The frames of a client of HTTP/2 (RFC 9113 §4), as they pass to hyper: how slowly one may come,
//! and how many may come that ask for nothing.
//!
//! hyper answers a request when its head is whole and a frame when it is, and has no time limit
//! for either. It does bound heads, continuations, streams, and streams that are reset before they
//! were seen. The rest is bounded here, by one account for everything that costs work and moves
//! nothing: pings, settings, resets and the like. What is sent to the client fills it again, since
//! who receives much acknowledges much.

use super::session::Patience;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What every client says first.
const PREFACE: usize = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The account: how much is on it, what a second adds, and what so many bytes add.
const CREDIT: f64 = 1000.0;
const PER_SECOND: f64 = 500.0;
const BYTES_FOR_ONE: f64 = 512.0;
/// A reset may have cost a request to the server (CVE-2023-44487).
const RESET: f64 = 5.0;

/// A connection whose frames are watched.
pub(super) struct Frames<S> {
    stream: S,
    patience: Patience,
    preface: usize,
    head: [u8; HEAD],
    /// Bytes of the head that are there, and of the payload that aren't.
    have: usize,
    left: usize,
    /// The head of a request is to be continued.
    in_head: bool,
    /// When what has begun must have ended.
    deadline: Option<Pin<Box<Sleep>>>,
    credit: f64,
    since: Instant,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            stream,
            patience,
            preface: PREFACE,
            head: [0; HEAD],
            have: 0,
            left: 0,
            in_head: false,
            deadline: Some(Box::pin(sleep_until(now + patience.head))),
            credit: CREDIT,
            since: now,
        }
    }

    /// Follows bytes that arrived.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        bytes = &bytes[skipped..];
        if skipped > 0 && self.preface == 0 {
            self.deadline = None;
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
            } else {
                self.head[self.have] = bytes[0];
                self.have += 1;
                bytes = &bytes[1..];
                if self.have == HEAD {
                    self.begin()?;
                    if self.is_data() && self.left > 0 {
                        // It has another one.
                        self.deadline = None;
                    }
                }
            }
            if self.left == 0 && (self.have == 0 || self.have == HEAD) {
                self.have = 0;
                if !self.in_head {
                    self.deadline = None;
                }
            }
        }
        Ok(())
    }

    /// The head of a frame is there.
    fn begin(&mut self) -> io::Result<()> {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let cost = match kind {
            HEADERS | CONTINUATION => {
                self.in_head = flags & END_HEADERS == 0;
                0.0
            }
            DATA if self.left > 0 || flags & END_STREAM != 0 => 0.0,
            RST_STREAM => RESET,
            _ => 1.0,
        };
        self.charge(cost)
    }

    fn is_data(&self) -> bool {
        self.have == HEAD && self.head[3] == DATA
    }

    fn charge(&mut self, cost: f64) -> io::Result<()> {
        if cost > 0.0 {
            let now = Instant::now();
            let earned = (now - self.since).as_secs_f64() * PER_SECOND;
            self.credit = (self.credit + earned).min(CREDIT) - cost;
            self.since = now;
        }
        match self.credit < 0.0 {
            true => Err(io::Error::other("too many frames that ask for nothing")),
            false => Ok(()),
        }
    }

    /// Whether what has begun took too long; if not, the task is woken when it does.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let begun = self.preface > 0 || self.have > 0 || self.in_head;
        if !begun {
            return false;
        }
        // A piece of a body may be large; everything else is small.
        let patience = if self.is_data() {
            self.patience.body
        } else {
            self.patience.head
        };
        let late = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        late.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        self.follow(&into.filled()[before..])?;
        // Whoever sends a byte now and then is as late as one who sends none.
        match self.is_late(context) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled
            // Less is an answer to such a frame.
            && count > BYTES_FOR_ONE as usize
        {
            self.credit = (self.credit + count as f64 / BYTES_FOR_ONE).min(CREDIT);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
