//! The time that canisters are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// How long it is until then.
pub(super) fn until(time: u64) -> Duration {
    Duration::from_nanos(time.saturating_sub(now()))
}
