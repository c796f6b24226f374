//! One stream's state, as one side sees it.
//!
//! ```text
//!   held ──ends both ways, or is reset──▶ finished ──handle dropped──▶ gone
//!     └──────────handle dropped──────────▶ cut ──reset sent──────────▶ gone
//! ```
//!
//! The state stays until the writer has said what is to be said of it, so it counts as a stream as
//! long as it takes any room.

use crate::ended::{Code, Ended, Fault};
use crate::frame::{Frame, PAYLOAD, encode};
use crate::window::{Giving, Taking};
use crate::{BACKLOG, Door};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// How far this side is with ending what it sends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Outward {
    #[default]
    Open,
    /// The end is to follow what waits.
    Ending,
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// To be told to the guest.
    open: Option<Door>,
    /// Both sides know that there is somebody behind the door.
    accepted: bool,
    accept_due: bool,

    incoming: VecDeque<u8>,
    taking: Taking,
    inward_ended: bool,

    outgoing: VecDeque<u8>,
    giving: Giving,
    outward: Outward,

    /// The other side cut it off.
    reset: Option<Code>,
    /// This side has cut it off, and says so.
    cut: Option<Code>,
    /// The session is over.
    over: Option<Ended>,
    /// It is in the list of those with something to send.
    pub(crate) queued: bool,
    /// Nobody has the handle any more.
    dropped: bool,

    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a flow has left to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// More, now.
    More,
    /// Nothing, for now.
    Nothing,
    /// Nothing, ever.
    Gone,
}

impl Flow {
    pub(crate) fn opened(door: Door) -> Self {
        Self {
            open: Some(door),
            ..Self::default()
        }
    }

    /// What is kept of it, bytes.
    pub(crate) fn kept(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }

    fn is_finished(&self) -> bool {
        let is_ended = self.inward_ended && self.outward == Outward::Ended;
        is_ended || self.reset.is_some() || self.over.is_some()
    }
}

/// What the other side says.
impl Flow {
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.inward_ended || self.reset.is_some() {
            return Err(Fault::Misplaced);
        }
        self.taking.came(bytes.len())?;
        self.accepted = true;
        if !self.dropped {
            self.incoming.extend(bytes);
            wake(&mut self.reader);
        }
        Ok(())
    }

    pub(crate) fn granted(&mut self, amount: u32) -> Result<(), Fault> {
        self.giving.granted(amount)?;
        self.accepted = true;
        wake(&mut self.reader);
        Ok(())
    }

    pub(crate) fn ended(&mut self) {
        self.inward_ended = true;
        self.accepted = true;
        wake(&mut self.reader);
    }

    pub(crate) fn was_reset(&mut self, code: Code) {
        self.reset.get_or_insert(code);
        self.stop();
    }

    /// The session is over. What has come is still read, unless it shall be forgotten.
    pub(crate) fn session_ended(&mut self, why: Ended, forget: bool) {
        self.over.get_or_insert(why);
        if forget {
            self.incoming = VecDeque::new();
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.outgoing = VecDeque::new();
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

/// What the handle is asked for. The second part of answers: whether there is something to send.
impl Flow {
    pub(crate) fn accept(&mut self) -> bool {
        self.accept_due = !std::mem::replace(&mut self.accepted, true);
        self.accept_due
    }

    pub(crate) fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.failure() {
            _ if self.accepted => Poll::Ready(Ok(())),
            Some(error) => Poll::Ready(Err(error)),
            None => wait(&mut self.reader, cx),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> (Poll<io::Result<()>>, bool) {
        let count = into.remaining().min(self.incoming.len());
        if count == 0 {
            let read = match self.failure() {
                _ if self.inward_ended || into.remaining() == 0 => Poll::Ready(Ok(())),
                Some(error) => Poll::Ready(Err(error)),
                None => wait(&mut self.reader, cx),
            };
            return (read, false);
        }
        let (front, back) = self.incoming.as_slices();
        let of_front = count.min(front.len());
        into.put_slice(&front[..of_front]);
        into.put_slice(&back[..count - of_front]);
        self.incoming.drain(..count);
        let is_due = self.taking.was_read(count) && !self.inward_ended;
        (Poll::Ready(Ok(())), is_due)
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failure() {
            return Poll::Ready(Err(error));
        }
        if self.outward != Outward::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(BACKLOG.saturating_sub(self.outgoing.len()));
        if count == 0 && !bytes.is_empty() {
            return wait(&mut self.writer, cx);
        }
        self.outgoing.extend(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    /// Ready when the writer has taken all.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.failure() {
            _ if self.outward == Outward::Ended => Poll::Ready(Ok(())),
            Some(error) => Poll::Ready(Err(error)),
            None if self.outgoing.is_empty() && self.outward == Outward::Open => {
                Poll::Ready(Ok(()))
            }
            None => wait(&mut self.writer, cx),
        }
    }

    /// Nothing more is written; true if that is news.
    pub(crate) fn end(&mut self) -> bool {
        let is_news = self.outward == Outward::Open;
        if is_news {
            self.outward = Outward::Ending;
        }
        is_news
    }

    /// The handle is gone. True if nothing has to be said of it any more.
    pub(crate) fn let_go(&mut self, code: Code) -> bool {
        self.dropped = true;
        self.incoming = VecDeque::new();
        self.outgoing = VecDeque::new();
        if !self.is_finished() {
            // A handle that is reset is dropped after that.
            self.cut.get_or_insert(code);
        }
        self.is_finished() && !self.queued
    }

    fn failure(&self) -> Option<io::Error> {
        let reset = self.reset.map(Code::error);
        reset.or_else(|| self.over.map(Ended::error))
    }
}

/// What is sent of it.
impl Flow {
    /// Adds the next of its frames: one with data at most, as others want to send too.
    pub(crate) fn emit(&mut self, stream: u32, out: &mut Vec<u8>) -> Left {
        if self.is_finished() {
            return if self.dropped {
                Left::Gone
            } else {
                Left::Nothing
            };
        }
        if let Some(code) = self.cut {
            // One that nobody was told of needs no end.
            if self.open.is_none() {
                encode(Frame::Reset { stream, code }, out);
            }
            return Left::Gone;
        }
        if let Some(door) = self.open.take() {
            let door = Some(door);
            encode(Frame::Open { stream, door }, out);
        }
        self.emit_credit(stream, out);
        self.emit_data(stream, out);
        if self.outgoing.is_empty() && self.outward == Outward::Ending {
            encode(Frame::End { stream }, out);
            self.outward = Outward::Ended;
        }
        wake(&mut self.writer);
        if self.giving.of(self.outgoing.len()) > 0 {
            Left::More
        } else {
            Left::Nothing
        }
    }

    fn emit_credit(&mut self, stream: u32, out: &mut Vec<u8>) {
        let is_due = std::mem::take(&mut self.accept_due);
        let amount = match self.taking.give() {
            Some(_) if self.inward_ended => 0,
            given => given.unwrap_or_default(),
        };
        if is_due || amount > 0 {
            encode(Frame::Credit { stream, amount }, out);
        }
    }

    fn emit_data(&mut self, stream: u32, out: &mut Vec<u8>) {
        let count = self.giving.of(self.outgoing.len().min(PAYLOAD));
        let (front, _) = self.outgoing.as_slices();
        let bytes = &front[..count.min(front.len())];
        if bytes.is_empty() {
            return;
        }
        encode(Frame::Data { stream, bytes }, out);
        let count = bytes.len();
        self.outgoing.drain(..count);
        self.giving.spend(count);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn wait<T>(waker: &mut Option<Waker>, cx: &Context<'_>) -> Poll<T> {
    *waker = Some(cx.waker().clone());
    Poll::Pending
}
