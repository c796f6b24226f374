//! A request's body on its way in.

use super::BURST;
use crate::answer::Broken;
use crate::inside::Inside;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::Notify;

/// See the module.
pub(super) struct Upload {
    body: Incoming,
    /// What was looked at already.
    first: Option<Frame<Bytes>>,
    /// Nothing is read, and so no client told to continue, before this.
    leave: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    counts: Option<(Counter, Arc<Inside>)>,
    /// The client broke it off, or wrote what is no body.
    broken: Arc<AtomicBool>,
    /// Moved since another task could run.
    burst: usize,
}

impl Upload {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            first: None,
            leave: None,
            counts: None,
            broken: Arc::default(),
            burst: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    /// The first bytes, which stay part of it.
    pub(super) async fn first(&mut self) -> Result<Option<&Bytes>, hyper::Error> {
        if self.first.is_none() {
            self.first = self.body.frame().await.transpose()?;
        }
        Ok(self.first.as_ref().and_then(Frame::data_ref))
    }

    /// Counts what moves, which says that the sandbox is in use.
    pub(super) fn counts(&mut self, counter: Counter, inside: Arc<Inside>) {
        self.counts = Some((counter, inside));
    }

    /// True later if it was broken off at the client's side.
    pub(super) fn broken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.broken)
    }

    /// Holds it back until it's notified.
    pub(super) fn hold(&mut self) -> Arc<Notify> {
        let leave = Arc::new(Notify::new());
        let notified = Arc::clone(&leave);
        self.leave = Some(Box::pin(async move { notified.notified().await }));
        leave
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(leave) = &mut self.leave {
            ready!(leave.as_mut().poll(cx));
            self.leave = None;
        }
        if self.burst >= BURST {
            self.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        if let Some(Err(_)) = &frame {
            self.broken.store(true, Ordering::Relaxed);
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.burst += data.len();
            if let Some((counter, inside)) = &self.counts {
                counter.inc_by(data.len() as u64);
                inside.touch_again();
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self
            .first
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len) as u64;
        let rest = self.body.size_hint();
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(first.saturating_add(rest)),
            None => SizeHint::default(),
        }
    }
}
