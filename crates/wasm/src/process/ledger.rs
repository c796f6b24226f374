//! Who of a tree lives, and how the others died.
//!
//! Whoever reaps a process reports it: the launcher, or the keeper once the launcher is gone. Reports
//! and hand-outs come by different ways, so a death may be known before the birth.

use super::Death;
use super::order::Report;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How one process ended, once it has.
#[derive(Default)]
pub(super) struct Slot {
    death: Mutex<Option<Death>>,
    known: Condvar,
    /// Whom to tell.
    mourner: Mutex<Option<Mourner>>,
}

type Mourner = Box<dyn FnOnce() + Send>;

impl Slot {
    /// Waits until it is known.
    pub(super) fn wait(&self, patience: Duration) -> Option<Death> {
        let deadline = Instant::now() + patience;
        let mut death = lock(&self.death);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if death.is_some() || left.is_zero() {
                return *death;
            }
            let woken = self.known.wait_timeout(death, left);
            death = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Calls this once it is known, which may be now. It holds up all other reports of deaths.
    pub(super) fn tell(&self, mourner: impl FnOnce() + Send + 'static) {
        *lock(&self.mourner) = Some(Box::new(mourner));
        if lock(&self.death).is_some() {
            self.mourn();
        }
    }

    fn fill(&self, death: Death) {
        lock(&self.death).get_or_insert(death);
        self.known.notify_all();
        self.mourn();
    }

    fn mourn(&self) {
        let mourner = lock(&self.mourner).take();
        if let Some(mourner) = mourner {
            mourner();
        }
    }
}

/// One tree's.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    closed: Condvar,
}

#[derive(Default)]
struct Entries {
    alive: HashMap<i32, Arc<Slot>>,
    /// Deaths of whom nobody here has heard yet: of those being handed out, and of a dead launcher's
    /// pool. No number is given out twice before its report.
    early: HashMap<i32, Death>,
    over: bool,
}

impl Ledger {
    /// A process was handed out.
    pub(super) fn enter(&self, pid: i32) -> Arc<Slot> {
        let mut entries = lock(&self.entries);
        let slot = Arc::new(Slot::default());
        match entries.early.remove(&pid) {
            Some(death) => slot.fill(death),
            None if entries.over => slot.fill(Death::WithKeeper),
            None => {
                entries.alive.insert(pid, Arc::clone(&slot));
            }
        }
        slot
    }

    /// A process was reaped.
    pub(super) fn report(&self, report: Report) {
        let mut entries = lock(&self.entries);
        match entries.alive.remove(&report.pid) {
            Some(slot) => slot.fill(report.death),
            None => {
                entries.early.insert(report.pid, report.death);
            }
        }
    }

    /// The keeper is gone, and with it all others.
    pub(super) fn close(&self) {
        let mut entries = lock(&self.entries);
        entries.over = true;
        for (_, slot) in entries.alive.drain() {
            slot.fill(Death::WithKeeper);
        }
        self.closed.notify_all();
    }

    /// Waits for the keeper's end, if nobody holds one of its processes, who could live for long.
    pub(super) fn wait_for_end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut entries = lock(&self.entries);
        let held = |slot: &Arc<Slot>| Arc::strong_count(slot) > 1;
        while !entries.over && !entries.alive.values().any(held) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.closed.wait_timeout(entries, left);
            entries = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What a panicking thread left is whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const NOW: Duration = Duration::ZERO;

    fn report(pid: i32) -> Report {
        Report {
            pid,
            death: Death::Killed(9),
        }
    }

    #[test]
    fn a_death_finds_its_process_whichever_comes_first() {
        let ledger = Ledger::default();
        let first = ledger.enter(5);
        assert_eq!(first.wait(NOW), None);
        ledger.report(report(5));
        assert_eq!(first.wait(NOW), Some(Death::Killed(9)));
        ledger.report(report(6));
        assert_eq!(ledger.enter(6).wait(NOW), Some(Death::Killed(9)));
        // The number is given out again.
        assert_eq!(ledger.enter(5).wait(NOW), None);
    }

    #[test]
    fn who_asked_is_told_once_whichever_comes_first() {
        let ledger = Ledger::default();
        let told = Arc::new(AtomicU32::new(0));
        let tell = |slot: &Slot| {
            let told = told.clone();
            slot.tell(move || {
                told.fetch_add(1, Ordering::Relaxed);
            });
        };
        tell(&ledger.enter(5));
        assert_eq!(told.load(Ordering::Relaxed), 0);
        ledger.report(report(5));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        ledger.report(report(6));
        tell(&ledger.enter(6));
        assert_eq!(told.load(Ordering::Relaxed), 2);
        tell(&ledger.enter(7));
        ledger.close();
        assert_eq!(told.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn with_the_keeper_all_are_dead() {
        let ledger = Ledger::default();
        let before = ledger.enter(5);
        ledger.close();
        for slot in [before, ledger.enter(6)] {
            assert_eq!(slot.wait(NOW), Some(Death::WithKeeper));
        }
    }
}
