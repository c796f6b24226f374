//! What one sandbox used, every few seconds.

use casemate_core::sandbox::Usage;
use jiff::Timestamp;
use std::collections::VecDeque;

/// An hour, at a sample each five seconds.
const MOST: usize = 720;

/// What a sandbox used at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Of all its processors, since the sample before.
    pub cpu_percent: f64,
    /// What the node said.
    pub usage: Usage,
}

/// The last ones.
#[derive(Default)]
pub(crate) struct Samples {
    ring: VecDeque<Sample>,
    /// What to compare the next one with.
    before: Option<(Timestamp, u64)>,
    /// Processes that had been killed by then.
    killed: u64,
}

impl Samples {
    /// Adds what the node says now. How many processes were killed since the sample before.
    pub(crate) fn add(&mut self, at: Timestamp, usage: Usage, cpus: u32) -> u64 {
        let cpu_percent = self.before.map_or(0.0, |(then, cpu)| {
            let passed = at.duration_since(then).as_micros() as f64 * f64::from(cpus.max(1));
            let used = usage.cpu_usec.saturating_sub(cpu) as f64;
            let percent = if passed > 0.0 {
                used / passed * 100.0
            } else {
                0.0
            };
            (percent.clamp(0.0, 100.0) * 100.0).round() / 100.0
        });
        self.before = Some((at, usage.cpu_usec));
        if self.ring.len() == MOST {
            self.ring.pop_front();
        }
        self.ring.push_back(Sample {
            at,
            cpu_percent,
            usage,
        });
        let before = std::mem::replace(&mut self.killed, usage.killed);
        usage.killed.saturating_sub(before)
    }

    /// The time from here on isn't part of what came before: the sandbox was paused.
    pub(crate) fn interrupt(&mut self) {
        self.before = None;
    }

    /// Those of a time, the oldest first.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let between = self
            .ring
            .iter()
            .filter(|sample| (from..=to).contains(&sample.at));
        between.copied().collect()
    }

    /// The newest.
    pub(crate) fn last(&self) -> Option<Sample> {
        self.ring.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_what_was_used_since_the_sample_before() {
        let mut samples = Samples::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let used = |cpu_usec| Usage {
            cpu_usec,
            ..Usage::default()
        };
        samples.add(at(0), used(1_000_000), 2);
        samples.add(at(5), used(6_000_000), 2);
        samples.interrupt();
        samples.add(at(500), used(9_000_000), 2);
        samples.add(at(500), used(9_000_000), 2);
        let percents: Vec<_> = samples
            .between(at(0), at(999))
            .iter()
            .map(|s| s.cpu_percent)
            .collect();
        assert_eq!(percents, [0.0, 50.0, 0.0, 0.0]);
        for second in 1000..3000 {
            samples.add(at(second), used(0), 2);
        }
        assert_eq!(samples.between(at(0), at(9999)).len(), MOST);
    }
}
