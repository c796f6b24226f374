//! How fast bytes may go: a bucket that fills by so many a second (a token bucket, RFC 2697).
//!
//! It is asked after the bytes have gone, and may then be in debt: how long until that is paid is
//! how long whoever moved them waits before the next ones. All connections of one bucket pay the
//! same debt, so each gets its turn.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a bucket holds, in parts of a second: a page of the web goes at once.
const BURST: f64 = 0.1;

/// One way of one sandbox.
#[derive(Debug)]
pub struct Flow {
    /// Bytes a second.
    rate: f64,
    /// What may go now, as of then.
    left: Mutex<(f64, Instant)>,
}

/// Both.
#[derive(Debug)]
pub struct Flows {
    /// Out of the sandbox.
    pub out: Flow,
    /// Into it.
    pub into: Flow,
}

impl Flows {
    /// So many bytes a second each way.
    pub fn new(rate: u64) -> Self {
        Self {
            out: Flow::new(rate),
            into: Flow::new(rate),
        }
    }
}

impl Flow {
    /// So many bytes a second.
    pub fn new(rate: u64) -> Self {
        let rate = rate.max(1) as f64;
        Self {
            rate,
            left: Mutex::new((rate * BURST, Instant::now())),
        }
    }

    /// How many bytes are moved at once, for the flow to be even.
    pub fn piece(&self) -> usize {
        (self.rate * BURST).clamp(4096.0, 262_144.0) as usize
    }

    /// Bytes have gone; how long until others may.
    pub fn take(&self, count: u64) -> Duration {
        self.take_at(count, Instant::now())
    }

    fn take_at(&self, count: u64, now: Instant) -> Duration {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, since) = *left;
        let filled = now.saturating_duration_since(since).as_secs_f64() * self.rate;
        let after = (before + filled).min(self.rate * BURST) - count as f64;
        *left = (after, now.max(since));
        Duration::try_from_secs_f64(-after / self.rate).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Flow;
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_is_free_and_then_each_byte_has_its_time() {
        let (flow, now) = (Flow::new(1000), Instant::now());
        assert_eq!(flow.take_at(100, now), Duration::ZERO);
        assert_eq!(flow.take_at(500, now), Duration::from_millis(500));
        // Another connection pays for the first one's, too.
        assert_eq!(flow.take_at(500, now), Duration::from_secs(1));
        let later = now + Duration::from_secs(1);
        assert_eq!(flow.take_at(0, later), Duration::ZERO);
        assert_eq!(flow.take_at(100, later), Duration::from_millis(100));
    }

    #[test]
    fn what_isnt_used_is_not_saved() {
        let (flow, now) = (Flow::new(1000), Instant::now());
        let later = now + Duration::from_secs(3600);
        assert_eq!(flow.take_at(1100, later), Duration::from_secs(1));
    }
}
