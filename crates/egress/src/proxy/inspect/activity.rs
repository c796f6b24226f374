//! Whether anything happens on a connection of HTTP/2: hyper has no time limits but for pings.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// What all messages of a connection tell.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    /// Messages that have begun and not ended.
    open: usize,
    /// One of them was given up in the middle.
    broken: bool,
    last: Instant,
}

/// A message that has begun.
pub(super) struct Open(Activity);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            open: 0,
            broken: false,
            last: Instant::now(),
        })))
    }
}

impl Activity {
    pub(super) fn begin(&self) -> Open {
        let mut state = self.state();
        state.open += 1;
        state.last = Instant::now();
        Open(self.clone())
    }

    /// Whether all messages that began have ended as they should.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.state();
        state.open == 0 && !state.broken
    }

    /// Waits until nothing has happened for so long: without messages, or with some.
    pub(super) async fn ceased(&self, idle: Duration, stalled: Duration) {
        loop {
            let until = {
                let state = self.state();
                state.last + if state.open == 0 { idle } else { stalled }
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn moved(&self) {
        self.state().last = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.last = Instant::now();
    }
}

/// A body whose pieces count as activity, and must not be too far apart.
pub(super) struct Watched<B> {
    body: B,
    open: Open,
    ended: bool,
    pause: Duration,
    late: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Watched<B> {
    pub(super) fn new(body: B, activity: &Activity, pause: Duration) -> Self {
        Self {
            ended: body.is_end_stream(),
            open: activity.begin(),
            body,
            pause,
            late: None,
        }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.late = None;
                this.open.0.moved();
                this.ended |= frame.is_none() || this.body.is_end_stream();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let pause = this.pause;
                let late = this.late.get_or_insert_with(|| Box::pin(sleep(pause)));
                match late.as_mut().poll(context) {
                    Poll::Ready(()) => {
                        let late = io::Error::from(io::ErrorKind::TimedOut);
                        Poll::Ready(Some(Err(late.into())))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.open.0.state().broken = true;
        }
    }
}
