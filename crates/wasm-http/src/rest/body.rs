//! Bodies: as many bytes as there may be, as soon as they have to be there, and not more of all
//! requests together than there is memory for.

use crate::fault::{Fault, Kind};
use crate::settings::Settings;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// What one permit stands for, bytes.
const UNIT: usize = 1 << 10;

/// Memory for the bodies of one kind of requests.
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    /// The longest body.
    longest: usize,
    patience: Duration,
}

/// A body, whose memory is given back when this is dropped.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// So many bytes, and at least one body of the longest.
    pub(crate) fn new(bytes: usize, longest: usize, settings: &Settings) -> Self {
        Self {
            free: Arc::new(Semaphore::new(units(bytes.max(longest)))),
            longest,
            patience: settings.arrival,
        }
    }

    /// All of a body.
    pub(crate) async fn receive(&self, body: Body) -> Result<Received, Fault> {
        let by = Instant::now() + self.patience;
        let limit = self.longest;
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(too_long(limit));
        }
        // One that doesn't say how long it is may be as long as any.
        let length = hint
            .upper()
            .map_or(limit, |upper| upper.min(limit as u64) as usize);
        let memory = match u32::try_from(units(length)).unwrap_or(u32::MAX) {
            0 => None,
            units => Some(self.reserve(units, by).await?),
        };
        let arrived = timeout_at(by, Limited::new(body, limit).collect()).await;
        let arrived = arrived.map_err(|_| {
            let seconds = self.patience.as_secs();
            let why = format!("the body did not arrive within {seconds} seconds");
            Fault::new(Kind::Slow, why)
        })?;
        let arrived = arrived.map_err(|error| match error.is::<LengthLimitError>() {
            true => too_long(limit),
            false => Fault::new(Kind::Bad, format!("the body could not be read: {error}")),
        })?;
        Ok(Received {
            bytes: arrived.to_bytes(),
            _memory: memory,
        })
    }

    async fn reserve(&self, units: u32, by: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        let busy = || Fault::new(Kind::Busy, "too many other requests have bodies");
        let reserved = timeout_at(by, Arc::clone(&self.free).acquire_many_owned(units)).await;
        reserved.map_err(|_| busy())?.map_err(|_| busy())
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

fn too_long(limit: usize) -> Fault {
    Fault::new(
        Kind::TooLong,
        format!("the body is longer than {limit} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn memory(patience: u64) -> Memory {
        let settings = Settings {
            arrival: Duration::from_millis(patience),
            ..Settings::default()
        };
        Memory::new(4 * UNIT, 2 * UNIT, &settings)
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded() {
        let memory = memory(30);
        let held = [
            memory.receive(vec![0; 2 * UNIT].into()).await.unwrap(),
            memory.receive(vec![0; UNIT].into()).await.unwrap(),
        ];
        // One of an unknown length may be longer than what is left.
        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a"))]);
        let refused = memory
            .receive(Body::from_stream(pieces))
            .await
            .err()
            .unwrap();
        assert_eq!(refused.kind, Kind::Busy);
        assert!(memory.receive(vec![0; UNIT].into()).await.is_ok());
        assert!(memory.receive(Body::empty()).await.is_ok());
        drop(held);
        assert!(memory.receive(vec![0; 2 * UNIT].into()).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_never_comes_is_given_up() {
        let never = stream::pending::<Result<Bytes, std::io::Error>>();
        let memory = memory(30);
        let slow = memory
            .receive(Body::from_stream(never))
            .await
            .err()
            .unwrap();
        assert_eq!(slow.kind, Kind::Slow);
        let long = memory.receive(vec![0; 2 * UNIT + 1].into()).await;
        assert_eq!(long.err().unwrap().kind, Kind::TooLong);
    }
}
