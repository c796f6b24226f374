//! Two sides in turn.

use super::Result;
use super::processes::Spent;
use super::stats::Summary;
use std::time::{Duration, Instant};

/// What one side and the other took, round by round.
#[derive(Default)]
pub(crate) struct Pairs {
    pub(crate) in_process: Vec<f64>,
    pub(crate) sandboxed: Vec<f64>,
}

/// The unit of what was measured.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The same, of what is short.
pub(crate) fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How long something took.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let since = Instant::now();
    work()?;
    Ok(since.elapsed())
}

/// What is read before and after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The one on the wall.
    Wall,
    /// The time that processors spent on this process and those below it: what work takes that waits
    /// for nothing, however busy the machine is with other things.
    Processors,
}

impl Clock {
    pub(crate) fn time<T>(self, work: impl FnOnce() -> Result<T>) -> Result<Duration> {
        match self {
            Self::Wall => timed(work),
            Self::Processors => {
                let before = Spent::so_far();
                work()?;
                Ok(Spent::so_far().since(&before))
            }
        }
    }
}

impl Pairs {
    /// Measures so many pairs; who comes first changes from pair to pair. `sample` is told which side.
    pub(crate) fn measure(
        count: usize,
        mut sample: impl FnMut(usize) -> Result<f64>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        for round in 0..count {
            let mut found = [0.0; 2];
            for turn in 0..2 {
                let side = (round + turn) % 2;
                found[side] = sample(side)?;
            }
            pairs.in_process.push(found[0]);
            pairs.sandboxed.push(found[1]);
        }
        Ok(pairs)
    }

    /// Sandboxed over in-process, pair by pair.
    pub(crate) fn ratios(&self) -> Summary {
        let both = self.in_process.iter().zip(&self.sandboxed);
        Summary::of(&both.map(|(one, other)| other / one).collect::<Vec<_>>())
    }

    /// Sandboxed less in-process, pair by pair.
    pub(crate) fn differences(&self) -> Summary {
        let both = self.in_process.iter().zip(&self.sandboxed);
        Summary::of(&both.map(|(one, other)| other - one).collect::<Vec<_>>())
    }
}
