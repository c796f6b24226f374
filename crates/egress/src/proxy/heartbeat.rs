//! Is the executor there? A timer that tells how late it is.
//!
//! What keeps the executor's threads from their work delays every connection at once, and shows in
//! no other phase. For whoever reads the perf log only: nobody else is woken every millisecond.

use super::phases::{Phase, Phases};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const BEAT: Duration = Duration::from_millis(1);
/// Beats of which the latest is written down.
const BEATS: u32 = 100;

/// Beats for ever.
pub(super) async fn beat(phases: Phases) {
    loop {
        let mut latest = Duration::ZERO;
        for _ in 0..BEATS {
            let due = Instant::now() + BEAT;
            sleep_until(due).await;
            latest = latest.max(due.elapsed());
        }
        phases.took(Phase::Heartbeat, latest);
    }
}
