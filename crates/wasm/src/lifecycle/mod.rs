//! Which workers stay: one that nobody has asked for a while costs memory, and another is soon made.
//!
//! ```text
//!  Seats::candidates ─▶ evict (pure: limits, idle times, sizes) ─▶ Seats::evict, one by one
//!            ▲                     ▲
//!     resident: /proc/PID/statm    available(): /proc/meminfo
//! ```
//!
//! Nothing is lost by it: a worker holds no state that isn't committed. Whoever owns the workers lets
//! one that runs a call finish, and only then lets it go; if it is asked again before that, it stays.

mod evict;
mod machine;
mod resident;

pub use evict::{Candidate, Eviction, GUESS, Limits, Reason, evict};
pub use machine::{available, total};
pub(crate) use resident::resident;

use std::time::Duration;

/// How often it is looked whether workers are to go.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Who owns the workers.
pub trait Seats {
    /// All canisters that have a worker.
    fn candidates(&self) -> Vec<Candidate>;

    /// Lets a canister's worker go, at once or when what runs in it is done. False if it has none.
    fn evict(&self, name: &str) -> bool;
}

/// What one look came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Workers that were there.
    pub workers: usize,
    /// Their memory, as far as it is known, bytes.
    pub resident: u64,
    /// Those that were let go, and why.
    pub evicted: Vec<(String, Reason)>,
}

/// Looks once, and lets go whom the limits don't allow.
pub fn sweep(seats: &dyn Seats, limits: &Limits, available: u64) -> Sweep {
    let candidates = seats.candidates();
    let mut sweep = Sweep {
        workers: candidates.len(),
        resident: candidates.iter().fold(0, |sum, one| {
            one.resident.map_or(sum, |own| sum.saturating_add(own))
        }),
        evicted: Vec::new(),
    };
    for Eviction { candidate, reason } in evict(&candidates, limits, available) {
        // It may have ended, or been removed, since it was counted.
        if seats.evict(&candidate.name) {
            sweep.evicted.push((candidate.name.clone(), reason));
        }
    }
    sweep
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Workers, of which one ends before it can be let go.
    struct Present(Mutex<Vec<Candidate>>);

    impl Seats for Present {
        fn candidates(&self) -> Vec<Candidate> {
            self.0.lock().unwrap().clone()
        }

        fn evict(&self, name: &str) -> bool {
            self.0.lock().unwrap().retain(|one| one.name != name);
            name != "gone"
        }
    }

    #[test]
    fn who_is_let_go_is_not_there_at_the_next_look() {
        let one = |name: &str, minutes: u64| Candidate {
            name: name.to_owned(),
            idle: Duration::from_secs(60 * minutes),
            resident: Some(10),
            priority: 0,
            is_busy: false,
        };
        let seats = Present(Mutex::new(vec![
            one("a", 29),
            one("b", 31),
            one("gone", 99),
        ]));
        let limits = Limits::of(1 << 30);
        let first = sweep(&seats, &limits, u64::MAX);
        assert_eq!((first.workers, first.resident), (3, 30));
        assert_eq!(first.evicted, [("b".to_owned(), Reason::Idle)]);
        let second = sweep(&seats, &limits, u64::MAX);
        assert_eq!((second.workers, second.evicted.len()), (1, 0));
    }
}
