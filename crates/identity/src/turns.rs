//! Who hashes now: so few at a time that one processor is left to everything else.
//!
//! Hashing is all computing, and there may be as many who want it as there are programs that are
//! new. They take turns, in the order in which they came, and a turn is short: a small file
//! doesn't wait until all large ones are read. Whoever takes far longer waits for a disk, not for
//! a processor, and holds up nobody.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Many times as long as a turn.
const STUCK: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Turns {
    counted: Mutex<Counted>,
    ended: Condvar,
    stuck: Duration,
}

#[derive(Debug)]
struct Counted {
    /// Turns at one time.
    most: u64,
    /// Of these, those that stand for turns that are stuck.
    extra: u64,
    asked: u64,
    ended: u64,
}

/// The right to compute. Dropped, it is the next one's.
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    since: Cell<Instant>,
}

impl Turns {
    /// Leaves one processor of those that this process may use, if there is more than one.
    pub(crate) fn of_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::new(processors.saturating_sub(1).max(1), STUCK)
    }

    fn new(most: usize, stuck: Duration) -> Self {
        let counted = Counted {
            most: most as u64,
            extra: 0,
            asked: 0,
            ended: 0,
        };
        Self {
            counted: Mutex::new(counted),
            ended: Condvar::new(),
            stuck,
        }
    }

    /// Waits for a turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        self.wait(self.counted());
        Turn {
            turns: self,
            since: Cell::new(Instant::now()),
        }
    }

    fn wait(&self, mut counted: MutexGuard<'_, Counted>) {
        let own = counted.asked;
        counted.asked += 1;
        while own >= counted.ended + counted.most {
            let (ended, most) = (counted.ended, counted.most);
            let waited = self.ended.wait_timeout(counted, self.stuck);
            let (found, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            counted = found;
            if waited.timed_out() && (counted.ended, counted.most) == (ended, most) {
                counted.most += 1;
                counted.extra += 1;
                self.ended.notify_all();
            }
        }
    }

    fn end(&self, counted: &mut Counted, since: Instant) {
        counted.ended += 1;
        if counted.extra > 0 && since.elapsed() >= self.stuck {
            counted.most -= 1;
            counted.extra -= 1;
        }
        self.ended.notify_all();
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Lets everybody have theirs who waits, and waits for the next.
    pub(crate) fn pass(&self) {
        let mut counted = self.turns.counted();
        if counted.asked - counted.ended > counted.most {
            self.turns.end(&mut counted, self.since.get());
            self.turns.wait(counted);
        }
        self.since.set(Instant::now());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.end(&mut self.turns.counted(), self.since.get());
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::thread::scope;
    use std::time::Duration;

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn no_more_at_a_time_than_there_are() {
        let (turns, now) = (Turns::new(2, NEVER), AtomicUsize::new(0));
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let turn = turns.take();
                    for _ in 0..100 {
                        assert!(now.fetch_add(1, Ordering::SeqCst) < 2);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        turn.pass();
                    }
                });
            }
        });
        let counted = turns.counted();
        assert_eq!(counted.asked, counted.ended);
    }

    #[test]
    fn whoever_waits_comes_before_whoever_passes() {
        let turns = Turns::new(1, NEVER);
        let (said, order) = sync_channel(2);
        let first = turns.take();
        scope(|scope| {
            scope.spawn(|| {
                let _turn = turns.take();
                said.send("the other").unwrap();
            });
            while turns.counted().asked < 2 {
                std::thread::yield_now();
            }
            first.pass();
            said.send("the first").unwrap();
        });
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, ["the other", "the first"]);
    }

    #[test]
    fn one_that_is_stuck_holds_up_nobody() {
        let turns = Turns::new(1, Duration::from_millis(1));
        let stuck = turns.take();
        // Neither returns unless it's taken for stuck.
        drop(turns.take());
        drop(turns.take());
        drop(stuck);
        let counted = turns.counted();
        assert_eq!(counted.asked, counted.ended);
        assert_eq!(counted.most, 1 + counted.extra);
    }

    #[test]
    fn nobody_waits_for_itself() {
        let turns = Turns::new(1, NEVER);
        let turn = turns.take();
        turn.pass();
        drop(turn);
        drop(turns.take());
    }
}
