//! A response's body on its way out.
//!
//! It ends as it ended inside, or with an error: what the client took for the whole would otherwise
//! be a part. At its end, the connection goes back to its pool; before, it's closed with the body.

use super::BURST;
use super::connect::Envelopes;
use crate::answer::{Body, Broken, empty};
use crate::inside::{Gone, Inside};
use crate::link::Link;
use crate::pool::Pools;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep, timeout};

/// How long a connection may take to be usable again after a response.
const SETTLING: Duration = Duration::from_secs(1);

/// What a client reads of a sandbox that died.
const GONE: &str = "The sandbox was not found";
const CUT_OFF: &str = "The connection to the sandbox broke off";

/// What a body needs on its way.
pub(super) struct Escort {
    pub(super) link: Link,
    pub(super) inside: Arc<Inside>,
    pub(super) pools: Arc<Pools>,
    pub(super) counter: Counter,
    /// How long to wait for news of the sandbox's end.
    pub(super) grief: Duration,
}

struct Relay {
    body: Incoming,
    /// None when it's over.
    escort: Option<Escort>,
    gone: Gone,
    envelopes: Option<Envelopes>,
    /// Why it broke off, and how long its sandbox is waited for.
    broken: Option<(Broken, Pin<Box<Sleep>>)>,
    /// Moved since another task could run.
    burst: usize,
}

/// The response for the client.
pub(super) fn relayed(response: Response<Incoming>, escort: Escort) -> Response<Body> {
    let envelopes = Envelopes::of(response.headers());
    response.map(|body| {
        if body.is_end_stream() {
            escort.dismiss();
            return empty();
        }
        let relay = Relay {
            envelopes: envelopes.filter(|_| body.size_hint().exact().is_none()),
            body,
            gone: escort.inside.gone(),
            escort: Some(escort),
            broken: None,
            burst: 0,
        };
        relay.boxed_unsync()
    })
}

impl Escort {
    /// After a whole response.
    fn dismiss(self) {
        let Self {
            mut link,
            inside,
            pools,
            ..
        } = self;
        inside.touch();
        if link.is_ready() {
            return pools.park(link, || inside.is_gone());
        }
        // It's usable a moment after its last byte; or never, if the server has closed it.
        tokio::spawn(async move {
            if timeout(SETTLING, link.ready()).await == Ok(true) {
                pools.park(link, || inside.is_gone());
            }
        });
    }
}

impl Relay {
    /// The end of what has no proper one.
    fn cut_off(&mut self, why: &str, error: Broken) -> Option<Result<Frame<Bytes>, Broken>> {
        self.escort = None;
        let end = self
            .envelopes
            .take()
            .and_then(|envelopes| envelopes.end(why));
        Some(end.map(Frame::data).ok_or(error))
    }

    /// The end of what has one.
    fn finish(&mut self) {
        if let Some(escort) = self.escort.take() {
            escort.dismiss();
        }
    }

    fn moved(&mut self, data: &Bytes) {
        self.burst += data.len();
        if let Some(escort) = &self.escort {
            escort.counter.inc_by(data.len() as u64);
            escort.inside.touch_again();
        }
        if let Some(envelopes) = &mut self.envelopes {
            envelopes.follow(data);
        }
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let relay = &mut *self;
        let Some(escort) = &relay.escort else {
            return Poll::Ready(None);
        };
        if relay.burst >= BURST {
            relay.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if relay.gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(relay.cut_off(GONE, "the sandbox has ended".into()));
        }
        if relay.broken.is_none() {
            match ready!(Pin::new(&mut relay.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        relay.moved(data);
                    }
                    if frame.is_trailers() || relay.body.is_end_stream() {
                        relay.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                None => {
                    relay.finish();
                    return Poll::Ready(None);
                }
                Some(Err(error)) if relay.envelopes.is_none() => {
                    return Poll::Ready(relay.cut_off(CUT_OFF, error.into()));
                }
                Some(Err(error)) => {
                    relay.broken = Some((error.into(), Box::pin(sleep(escort.grief))));
                }
            }
        }
        if let Some((_, patience)) = &mut relay.broken {
            ready!(patience.as_mut().poll(cx));
        }
        let error = relay
            .broken
            .take()
            .map_or_else(|| CUT_OFF.into(), |(error, _)| error);
        Poll::Ready(relay.cut_off(CUT_OFF, error))
    }

    fn is_end_stream(&self) -> bool {
        self.escort.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
