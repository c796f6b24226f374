//! How often a sandbox that stays is looked at, where the supervisor counts.
//!
//! Hundreds of them may live on one machine, and most sleep. Nothing that sleeps needs more memory
//! or starts anything: both take processor time, and a glance at that costs a tenth of a count.
//!
//! ```text
//!          quiet for [`CALM`]               still quiet
//!  awake ─────────────────────▶ resting ──────┐
//!  counts every FAST   ◀─────── glances at ───┘ twice as long, up to SLOWEST
//!                  anything moved, started, ended, or was asked
//! ```
//!
//! What is compared is always the moment at which the rest began: a program that does a little
//! between glances is found out as soon as that is [`LITTLE`] together.

use crate::proc;
use rustix::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Between two counts.
pub(super) const FAST: Duration = Duration::from_millis(20);
/// Between two glances, at most: so late may the end of a rest be noticed.
const SLOWEST: Duration = Duration::from_millis(500);
/// A rest begins after so long.
const CALM: Duration = Duration::from_millis(200);
/// Microseconds of processor time that are nothing: the clock's own step, and one more.
const LITTLE: u64 = 20_000;
/// More never rest: each hides a step or two of the clock that its times are given in, and to look at
/// them takes longer than a connect(2) should wait for.
const FEW: usize = 16;

/// See the module.
pub(super) struct Pace {
    tick: Duration,
    since: Instant,
    seen: Glance,
}

/// What shows that nothing happened.
#[derive(Default)]
struct Glance {
    pids: Vec<i32>,
    /// Processor time, microseconds.
    time: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            tick: FAST,
            since: Instant::now(),
            seen: Glance::default(),
        }
    }

    /// Until the next look.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// Something was asked or tried: what comes of it is looked at soon.
    pub(super) fn wake(&mut self) {
        self.tick = FAST;
        self.since = Instant::now();
    }

    /// A look; true if it has to be a count.
    pub(super) fn look(&mut self, proc: BorrowedFd<'_>) -> bool {
        let rests = self.tick > FAST;
        if !rests && self.since.elapsed() < CALM {
            return true;
        }
        let now = Glance::at(proc);
        match now.is_like(&self.seen) {
            true => self.tick = (self.tick * 2).min(SLOWEST),
            false => {
                self.wake();
                self.seen = now;
            }
        }
        self.tick == FAST
    }
}

impl Glance {
    fn at(proc: BorrowedFd<'_>) -> Self {
        let pids = proc::processes(proc);
        Self {
            time: match pids.len() > FEW {
                true => 0,
                false => proc::processor_time(proc, &pids),
            },
            pids,
        }
    }

    fn is_like(&self, before: &Self) -> bool {
        self.pids.len() <= FEW
            && self.pids == before.pids
            && self.time.saturating_sub(before.time) <= LITTLE
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM, FAST, Glance, Pace, SLOWEST};
    use rustix::fd::AsFd;
    use std::time::Instant;

    fn glance(time: u64) -> Glance {
        Glance {
            pids: vec![1, 2],
            time,
        }
    }

    #[test]
    fn what_moves_or_is_another_is_not_alike() {
        assert!(glance(20_000).is_like(&glance(0)));
        assert!(!glance(30_000).is_like(&glance(0)));
        let other = Glance {
            pids: vec![1, 3],
            ..glance(0)
        };
        assert!(!other.is_like(&glance(0)));
        let many = || Glance {
            pids: (1..20).collect(),
            ..glance(0)
        };
        assert!(!many().is_like(&many()));
    }

    /// A /proc without processes is one in which nothing happens.
    #[test]
    fn a_rest_grows_and_ends_at_once() {
        let folder = std::fs::File::open("/proc/sys").unwrap();
        let mut pace = Pace::new();
        assert!(pace.look(folder.as_fd()));
        pace.since = Instant::now().checked_sub(CALM).unwrap();
        assert!(!pace.look(folder.as_fd()));
        assert_eq!(pace.tick(), FAST * 2);
        (0..10).for_each(|_| assert!(!pace.look(folder.as_fd())));
        assert_eq!(pace.tick(), SLOWEST);
        pace.wake();
        assert_eq!(pace.tick(), FAST);
        assert!(pace.look(folder.as_fd()));
        pace.since = Instant::now().checked_sub(CALM).unwrap();
        pace.seen.pids.push(7);
        assert!(pace.look(folder.as_fd()), "another process has ended");
        assert_eq!(pace.tick(), FAST);
    }
}
