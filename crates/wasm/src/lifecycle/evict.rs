//! The decision: a function of what is there, and of nothing else.

use std::cmp::Reverse;
use std::time::Duration;

/// What a worker is taken to need as long as nobody has measured it, bytes.
pub const GUESS: u64 = 5 << 20;

/// A worker, as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The canister's name.
    pub name: String,
    /// Since when it hasn't been asked anything.
    pub idle: Duration,
    /// Its memory, bytes, if it was measured.
    pub resident: Option<u64>,
    /// Of two that are asked for as seldom, the one with less goes first.
    pub priority: i64,
    /// A call runs in it.
    pub is_busy: bool,
}

impl Candidate {
    fn size(&self) -> u64 {
        self.resident.unwrap_or(GUESS)
    }
}

/// What there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Workers.
    pub workers: usize,
    /// How long one may be idle.
    pub idle: Duration,
    /// The memory of all, bytes, while the machine has little left.
    pub resident: u64,
    /// The machine has little left below this, bytes (MemAvailable of proc_meminfo(5)).
    pub available: u64,
    /// Once there are too many, so many more go, so that it isn't one with each that comes.
    pub batch: usize,
    /// The same of memory, bytes.
    pub resident_batch: u64,
}

impl Limits {
    /// For a machine with so much memory, bytes: half of it may be the workers', and they give way
    /// when less than a quarter is left.
    #[must_use]
    pub fn of(total: u64) -> Self {
        Self {
            workers: 7_000,
            idle: Duration::from_secs(30 * 60),
            resident: total / 2,
            available: total / 4,
            batch: 200,
            resident_batch: 1 << 30,
        }
    }
}

/// Why a worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody has asked it for long.
    Idle,
    /// There are too many.
    Count,
    /// All together have too much memory, and the machine has little left.
    Memory,
}

/// One that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction<'a> {
    /// Which.
    pub candidate: &'a Candidate,
    /// Why.
    pub reason: Reason,
}

/// Who is to go, in the order in which they go. Idle ones go in any case. If there are still too many,
/// or they are too large while `available` is little, others follow: first those in which nothing
/// runs, of these those of the lowest priority, of these those that were idle for longest.
#[must_use]
pub fn evict<'a>(
    candidates: &'a [Candidate],
    limits: &Limits,
    available: u64,
) -> Vec<Eviction<'a>> {
    let is_idle = |one: &&Candidate| !one.is_busy && one.idle >= limits.idle;
    let (mut idle, mut others): (Vec<_>, Vec<_>) = candidates.iter().partition(is_idle);
    idle.sort_by_key(|one| (Reverse(one.idle), &one.name));
    others.sort_by_key(|one| (one.is_busy, one.priority, Reverse(one.idle), &one.name));
    let (count, total) = (others.len(), total(&others));
    let mut evicted: Vec<_> = idle.into_iter().map(because(Reason::Idle)).collect();

    let too_many = match count > limits.workers {
        true => count - limits.workers.saturating_sub(limits.batch),
        false => 0,
    };
    let mut rest = others.split_off(too_many);
    let left = total.saturating_sub(self::total(&others));
    evicted.extend(others.into_iter().map(because(Reason::Count)));

    if left > limits.resident && available < limits.available {
        let wanted = limits.resident.saturating_sub(limits.resident_batch);
        let mut left = left;
        rest.retain(|one| {
            let goes = left > wanted;
            left = left.saturating_sub(if goes { one.size() } else { 0 });
            goes
        });
        evicted.extend(rest.into_iter().map(because(Reason::Memory)));
    }
    evicted
}

fn total(candidates: &[&Candidate]) -> u64 {
    let sizes = candidates.iter().map(|one| one.size());
    sizes.fold(0, u64::saturating_add)
}

fn because<'a>(reason: Reason) -> impl Fn(&'a Candidate) -> Eviction<'a> {
    move |candidate| Eviction { candidate, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reason::{Count, Idle, Memory};
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        workers: 4,
        idle: Duration::from_secs(1800),
        resident: 100,
        available: 1000,
        batch: 2,
        resident_batch: 30,
    };

    /// Name, seconds that it was idle, size, priority, and whether it is busy.
    type Row = (&'static str, u64, u64, i64, bool);

    fn candidates(rows: &[Row]) -> Vec<Candidate> {
        let candidate = |&(name, idle, size, priority, is_busy): &Row| Candidate {
            name: name.to_owned(),
            idle: Duration::from_secs(idle),
            resident: Some(size),
            priority,
            is_busy,
        };
        rows.iter().map(candidate).collect()
    }

    /// What there is, what the machine has left, who goes.
    type Case = (
        &'static str,
        &'static [Row],
        u64,
        &'static [(&'static str, Reason)],
    );

    const CASES: [Case; 12] = [
        ("nobody is there", &[], 0, &[]),
        (
            "none too many, none idle",
            &[("a", 1, 1, 0, false), ("b", 1799, 1, 0, false)],
            0,
            &[],
        ),
        (
            "idle ones go, the longest first",
            &[
                ("a", 1800, 1, 0, false),
                ("b", 5, 1, 0, false),
                ("c", 9000, 1, 9, false),
            ],
            u64::MAX,
            &[("c", Idle), ("a", Idle)],
        ),
        (
            "who runs a call isn't idle",
            &[("a", 9000, 1, 0, true)],
            0,
            &[],
        ),
        (
            "as many as there may be",
            &[
                ("a", 1, 1, 0, false),
                ("b", 2, 1, 0, false),
                ("c", 3, 1, 0, false),
                ("d", 4, 1, 0, false),
            ],
            u64::MAX,
            &[],
        ),
        (
            "one too many: a batch goes with it",
            &[
                ("a", 1, 1, 0, false),
                ("b", 2, 1, 0, false),
                ("c", 3, 1, 0, false),
                ("d", 4, 1, 0, false),
                ("e", 5, 1, 0, false),
            ],
            u64::MAX,
            &[("e", Count), ("d", Count), ("c", Count)],
        ),
        (
            "who has gone as idle isn't one too many",
            &[
                ("a", 1, 1, 0, false),
                ("b", 2, 1, 0, false),
                ("c", 3, 1, 0, false),
                ("d", 4, 1, 0, false),
                ("e", 5000, 1, 0, false),
            ],
            u64::MAX,
            &[("e", Idle)],
        ),
        (
            "priority comes before idleness, and what runs before both",
            &[
                ("a", 1, 1, -1, false),
                ("b", 2, 1, 7, false),
                ("c", 3, 1, -9, true),
                ("d", 4, 1, 0, false),
                ("e", 5, 1, 0, false),
            ],
            u64::MAX,
            &[("a", Count), ("e", Count), ("d", Count)],
        ),
        (
            "too large, and the machine has plenty",
            &[("a", 1, 90, 0, false), ("b", 2, 90, 0, false)],
            1000,
            &[],
        ),
        (
            "too large, and the machine has little",
            &[("a", 1, 60, 0, false), ("b", 2, 90, 0, false)],
            999,
            &[("b", Memory)],
        ),
        (
            "down to below the limit by a batch",
            &[
                ("a", 1, 40, 0, false),
                ("b", 2, 31, 0, false),
                ("c", 3, 30, 0, false),
            ],
            0,
            &[("c", Memory), ("b", Memory)],
        ),
        (
            "what goes for another reason counts no more",
            &[("a", 1, 80, 0, false), ("b", 5000, 90, 0, false)],
            0,
            &[("b", Idle)],
        ),
    ];

    #[test]
    fn who_goes() {
        for (what, rows, available, expected) in CASES {
            let candidates = candidates(rows);
            let evicted = evict(&candidates, &LIMITS, available);
            let evicted: Vec<_> = evicted
                .iter()
                .map(|one| (one.candidate.name.as_str(), one.reason))
                .collect();
            assert_eq!(evicted, expected, "{what}");
        }
    }

    #[test]
    fn who_was_never_measured_is_guessed() {
        let mut all = candidates(&[("a", 1, 0, 0, false), ("b", 2, 0, 0, false)]);
        all.iter_mut().for_each(|one| one.resident = None);
        let limits = Limits {
            resident: 2 * GUESS - 1,
            ..LIMITS
        };
        assert_eq!(evict(&all, &limits, 0).len(), 1);
        let limits = Limits {
            resident: 2 * GUESS,
            ..LIMITS
        };
        assert!(evict(&all, &limits, 0).is_empty());
    }

    fn some() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (
            0u64..4000,
            proptest::option::of(0u64..60),
            -3i64..3,
            any::<bool>(),
        );
        let one = one.prop_map(|(idle, resident, priority, is_busy)| Candidate {
            name: String::new(),
            idle: Duration::from_secs(idle),
            resident,
            priority,
            is_busy,
        });
        proptest::collection::vec(one, 0..12).prop_map(|mut all| {
            let named = all.iter_mut().enumerate();
            named.for_each(|(n, one)| one.name = n.to_string());
            all
        })
    }

    proptest! {
        #[test]
        fn what_is_left_is_within_the_limits(all in some(), available in 0u64..2000) {
            let evicted = evict(&all, &LIMITS, available);
            let mut names: Vec<_> = evicted.iter().map(|one| &one.candidate.name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), evicted.len(), "nobody goes twice");
            let left: Vec<_> = all.iter().filter(|one| !names.contains(&&one.name)).collect();
            prop_assert!(left.len() <= LIMITS.workers);
            prop_assert!(left.iter().all(|one| one.is_busy || one.idle < LIMITS.idle));
            prop_assert!(available >= LIMITS.available || total(&left) <= LIMITS.resident);
            // Nobody stays who would have gone before one that went.
            let forced = evicted.iter().filter(|one| one.reason != Idle);
            for gone in forced.map(|one| one.candidate) {
                let before = |one: &&&Candidate| {
                    (one.is_busy, one.priority, Reverse(one.idle))
                        < (gone.is_busy, gone.priority, Reverse(gone.idle))
                };
                prop_assert!(left.iter().find(before).is_none());
            }
        }
    }
}
