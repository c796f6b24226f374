//! What a server has done.

use serde::Serialize;
use std::time::Duration;

/// What a server has done for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The monitor's process, if it is seen from here, when it connected.
    pub monitor: Option<u32>,
    /// Its user.
    pub user: u32,
    /// The guest's memory, pages of 4 KiB; so are all pages below.
    pub memory: u64,
    /// Faults that were served.
    pub faults: u64,
    /// Pages on which there was a fault at least once.
    pub touched: u64,
    /// Pages that were filled because of a fault.
    pub filled: u64,
    /// Pages that were filled ahead.
    pub prefetched: u64,
    /// Pages that were given back.
    pub removed: u64,
    /// Faults that had to wait until it was known what had been given back.
    pub deferred: u64,
    /// How long half of the faults took at most, from being read to the page being there, ns.
    pub p50: u64,
    /// The same of 99 in a hundred.
    pub p99: u64,
    /// How many pages the working set for the next restore has, if there is one.
    pub working_set: Option<u64>,
    /// What didn't hinder the machine.
    pub notes: Vec<String>,
}

/// How often something took how long, to an eighth of it.
#[derive(Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
}

/// Steps to each doubling.
const STEPS: u32 = 8;

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: vec![0; (u64::BITS * STEPS) as usize],
        }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[step(nanoseconds)] += 1;
    }

    /// What so many of a hundred took at most.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        found.map_or(0, longest)
    }
}

fn step(value: u64) -> usize {
    if value < u64::from(STEPS) {
        return value as usize;
    }
    let doubling = value.ilog2();
    // The three bits after the first.
    let part = (value >> (doubling - 3)) as u32 & (STEPS - 1);
    ((doubling - 2) * STEPS + part) as usize
}

/// The largest value of a step.
fn longest(step: usize) -> u64 {
    let step = step as u32;
    if step < STEPS {
        return step.into();
    }
    let (doubling, part) = (step / STEPS + 2, step % STEPS);
    let next = u128::from(STEPS + part + 1) << (doubling - 3);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_falls_into_it() {
        for value in (0..5000).chain([1 << 40, u64::MAX / 3, u64::MAX]) {
            let most = longest(step(value));
            assert!(most >= value && most - value <= value / 8, "{value} {most}");
        }
    }

    #[test]
    fn percentiles_are_told() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), 0);
        for n in 0..100 {
            latencies.add(Duration::from_nanos(if n < 98 { 5 } else { 1000 }));
        }
        assert_eq!(latencies.percentile(50), 5);
        assert_eq!(latencies.percentile(98), 5);
        assert_eq!(latencies.percentile(99), 1023);
    }
}
