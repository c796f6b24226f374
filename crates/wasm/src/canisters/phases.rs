//! How long the parts of a call take, and what else canisters wait for.
//!
//! ```text
//!  call ─▶ turn ─▶ run ─▶ commit ─▶ journal ─▶ disk ─▶ delivery
//!                  └ instantiate, compile, recover: if it wasn't there
//! ```
//!
//! A number is noted by two additions to memory that few other threads write, without a lock, and the
//! clock is read once between two parts: an empty call takes microseconds. A part that there was
//! nothing to do in isn't measured. Buckets end at powers of two, so that the place of a number in
//! them is the number of its bits.

use super::Canisters;
use super::canister::Canister;
use super::slot::Slot;
use crate::call::Ran;
use crate::store::{Durability, StoreError, Written};
use std::cell::Cell;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// The first bucket is for what is at most 2¹⁰: a microsecond, or a thousand instructions.
const FIRST: u32 = 10;
/// The last ends at 2³⁶: a minute, or more instructions than a call may have.
const BUCKETS: usize = 27;
/// Threads that note at the same time do so at different places, if they are no more than this.
const SHARDS: usize = 8;

/// A part of a call, or what comes before one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// Waiting for the canister, which did something else.
    Turn,
    /// Running an update, in the executor.
    Run,
    /// Running a query.
    Query,
    /// Taking over what an update wrote.
    Commit,
    /// Writing its record.
    Journal,
    /// Waiting until the record is on the disk.
    Disk,
    /// Bringing what it left to other canisters.
    Delivery,
    /// Compiling a module.
    Compile,
    /// Making a place for a canister to run in.
    Instantiate,
    /// Opening a canister: loading its memory, and running again what was called since.
    Recover,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Turn,
        Self::Run,
        Self::Query,
        Self::Commit,
        Self::Journal,
        Self::Disk,
        Self::Delivery,
        Self::Compile,
        Self::Instantiate,
        Self::Recover,
    ];

    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Run => "run",
            Self::Query => "query",
            Self::Commit => "commit",
            Self::Journal => "journal",
            Self::Disk => "disk",
            Self::Delivery => "delivery",
            Self::Compile => "compile",
            Self::Instantiate => "instantiate",
            Self::Recover => "recover",
        }
    }
}

/// Numbers, by how large they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How many are at most so large, and larger than the bound before.
    pub buckets: Vec<(u64, u64)>,
    /// How many are larger than all bounds.
    pub beyond: u64,
    /// Their sum.
    pub sum: u64,
}

impl Histogram {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let within: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        within + self.beyond
    }
}

/// Where numbers of one kind are noted.
struct Tally {
    buckets: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS + 1],
            sum: AtomicU64::new(0),
        }
    }

    fn note(&self, number: u64) {
        self.buckets[place(number)].fetch_add(1, Relaxed);
        self.sum.fetch_add(number, Relaxed);
    }
}

/// The bucket of a number.
fn place(number: u64) -> usize {
    let bits = u64::BITS - number.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(FIRST) as usize).min(BUCKETS)
}

/// Where some threads note.
#[repr(align(128))]
struct Shard {
    phases: [Tally; Phase::ALL.len()],
    instructions: Tally,
}

/// See the module.
pub(super) struct Phases(Box<[Shard; SHARDS]>);

impl Default for Phases {
    fn default() -> Self {
        let shard = || Shard {
            phases: [const { Tally::new() }; Phase::ALL.len()],
            instructions: Tally::new(),
        };
        Self(Box::new(std::array::from_fn(|_| shard())))
    }
}

impl Phases {
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: Cell<usize> = const { Cell::new(usize::MAX) });
        let own = OWN.get();
        let own = match own {
            usize::MAX => {
                let next = NEXT.fetch_add(1, Relaxed) % SHARDS;
                OWN.set(next);
                next
            }
            own => own,
        };
        &self.0[own]
    }

    fn note(&self, phase: Phase, nanoseconds: u64) {
        self.shard().phases[phase as usize].note(nanoseconds);
    }

    /// Notes what began then and ends now.
    pub(super) fn since(&self, phase: Phase, began: Instant) {
        self.note(phase, nanoseconds(began, Instant::now()));
    }

    /// Measures one thing, however it ends.
    pub(super) fn of<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.since(phase, began);
        done
    }

    /// Measures the parts of a turn, which follow each other.
    pub(super) fn lap(&self, phase: Phase, began: &mut Instant) {
        let now = Instant::now();
        self.note(phase, nanoseconds(*began, now));
        *began = now;
    }

    /// A call has run.
    pub(super) fn ran(&self, ran: &[Ran]) {
        let instructions = ran.iter().map(|ran| ran.instructions).sum();
        self.shard().instructions.note(instructions);
    }

    fn sum(&self, of: impl Fn(&Shard) -> &Tally) -> Histogram {
        let all = |get: &dyn Fn(&Tally) -> &AtomicU64| -> u64 {
            let counts = self.0.iter().map(|shard| get(of(shard)).load(Relaxed));
            counts.fold(0, u64::wrapping_add)
        };
        let bucket = |at| {
            (
                1_u64 << (FIRST as usize + at),
                all(&|tally| &tally.buckets[at]),
            )
        };
        Histogram {
            buckets: (0..BUCKETS).map(bucket).collect(),
            beyond: all(&|tally| &tally.buckets[BUCKETS]),
            sum: all(&|tally| &tally.sum),
        }
    }
}

fn nanoseconds(began: Instant, now: Instant) -> u64 {
    u64::try_from((now - began).as_nanos()).unwrap_or(u64::MAX)
}

impl Canisters {
    /// How long a part took, each time, in nanoseconds.
    #[must_use]
    pub fn took(&self, phase: Phase) -> Histogram {
        self.shop.phases.sum(|shard| &shard.phases[phase as usize])
    }

    /// How many instructions the updates took, each.
    #[must_use]
    pub fn took_instructions(&self) -> Histogram {
        self.shop.phases.sum(|shard| &shard.instructions)
    }

    /// Waits for a canister's turn.
    pub(super) fn enter<'a>(&self, slot: &'a Slot) -> MutexGuard<'a, Option<Canister>> {
        match slot.try_canister() {
            // Nobody waits, and no clock is read.
            Some(canister) => {
                self.shop.phases.note(Phase::Turn, 0);
                canister
            }
            None => self.shop.phases.of(Phase::Turn, || slot.canister()),
        }
    }

    /// Waits until what was written is as safe as it is to be.
    pub(super) fn until_kept(&self, written: Written) -> Result<(), StoreError> {
        match self.shop.options.durability {
            Durability::Power => {
                let wait = || written.wait().map(drop);
                self.shop.phases.of(Phase::Disk, wait)
            }
            Durability::Process | Durability::Checkpoint => written.wait().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_bucket() {
        for (number, expected) in [
            (0, 0),
            (1, 0),
            (1024, 0),
            (1025, 1),
            (2048, 1),
            (2049, 2),
            (1 << 36, 26),
            ((1 << 36) + 1, 27),
            (u64::MAX, 27),
        ] {
            assert_eq!(place(number), expected, "{number}");
        }
    }

    #[test]
    fn what_many_threads_note_is_added_up() {
        let phases = Phases::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for number in [0, 1024, 1025, 1 << 40] {
                        phases.note(Phase::Commit, number);
                    }
                });
            }
        });
        let threads = 2 * SHARDS as u64;
        let found = phases.sum(|shard| &shard.phases[Phase::Commit as usize]);
        assert_eq!(found.buckets.len(), BUCKETS);
        assert_eq!(found.buckets[0], (1024, 2 * threads));
        assert_eq!(found.buckets[1], (2048, threads));
        assert_eq!(found.beyond, threads);
        assert_eq!(found.count(), 4 * threads);
        assert_eq!(found.sum, threads * (1024 + 1025 + (1 << 40)));
        let other = phases.sum(|shard| &shard.phases[Phase::Run as usize]);
        assert_eq!((other.count(), other.sum), (0, 0));
    }
}
