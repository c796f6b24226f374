//! How many sandboxes ran, and how many were started.

use jiff::Timestamp;
use std::collections::VecDeque;

/// A day, at a sample each five seconds.
const MOST: usize = 17_280;

/// All sandboxes at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TeamSample {
    pub(crate) at: Timestamp,
    /// Those that run.
    pub(crate) concurrent: u32,
    /// Those that were started in each second since the sample before.
    pub(crate) start_rate: f64,
}

/// The last ones.
#[derive(Default)]
pub(crate) struct Team {
    ring: VecDeque<TeamSample>,
    started: u64,
}

impl Team {
    /// Adds what there is now; `started` counts all that ever were.
    pub(crate) fn add(&mut self, at: Timestamp, concurrent: u32, started: u64) {
        let passed = self
            .ring
            .back()
            .map(|last| at.duration_since(last.at).as_secs_f64());
        let start_rate = match passed {
            Some(passed) if passed > 0.0 => started.saturating_sub(self.started) as f64 / passed,
            _ => 0.0,
        };
        self.started = started;
        if self.ring.len() == MOST {
            self.ring.pop_front();
        }
        self.ring.push_back(TeamSample {
            at,
            concurrent,
            start_rate,
        });
    }

    /// Those of a time, the oldest first, no more than `most`: of neighbours the highest of each
    /// value is kept, so no peak is lost.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<TeamSample> {
        let between = self
            .ring
            .iter()
            .filter(|sample| (from..=to).contains(&sample.at));
        let all: Vec<_> = between.copied().collect();
        let together = all.len().div_ceil(most.max(1)).max(1);
        let highest = |group: &[TeamSample]| {
            group.iter().copied().reduce(|a, b| TeamSample {
                at: a.at,
                concurrent: a.concurrent.max(b.concurrent),
                start_rate: a.start_rate.max(b.start_rate),
            })
        };
        all.chunks(together).filter_map(highest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_peak() {
        let mut team = Team::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        for second in 0..100 {
            team.add(
                at(second),
                if second == 57 { 9 } else { 1 },
                second as u64 * 2,
            );
        }
        let thin = team.between(at(0), at(1000), 10);
        assert_eq!(thin.len(), 10);
        assert_eq!(thin.iter().map(|sample| sample.concurrent).max(), Some(9));
        assert_eq!(thin[5].start_rate, 2.0);
    }
}
