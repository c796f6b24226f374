//! A limit on processor time where there is no cgroup for it: a whole number of processors is that
//! many to run on (sched_setaffinity(2)), and a filter that doesn't let the program take others.
//!
//! Which ones they are is left to chance, so that many sandboxes are spread over all.

use casemate_core::limits::Limits;
use casemate_sys::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// See the module.
pub(crate) enum Processors {
    /// These.
    These(CpuSet),
    /// All that the machine has are fewer than would be allowed.
    All,
}

impl Processors {
    /// Whether a limit is one that this can hold.
    pub(super) fn fit(limits: &Limits) -> bool {
        limits
            .cpus
            .is_some_and(|cpus| cpus.0 >= 1000 && cpus.0 % 1000 == 0)
    }

    /// As many as the limit allows; none if it isn't one, or isn't whole.
    pub(super) fn choose(limits: &Limits) -> Option<Self> {
        let cpus = limits.cpus.filter(|_| Self::fit(limits))?;
        let many = usize::try_from(cpus.0 / 1000).ok()?;
        if online().is_some_and(|online| online <= many) {
            return Some(Self::All);
        }
        let own = sched_getaffinity(None).ok()?;
        let mut seed = [0; 4];
        // Without the kernel's randomness, it's always the first.
        let _ = getrandom(&mut seed, GetRandomFlags::empty());
        Some(Self::These(some_of(&own, many, u32::from_le_bytes(seed))))
    }

    /// Keeps this process, and all that it starts, there.
    pub(crate) fn take(&self) -> Result<(), Errno> {
        match self {
            Self::These(these) => sched_setaffinity(None, these),
            Self::All => Ok(()),
        }
    }

    /// Whether a program could go elsewhere.
    pub(crate) fn are_chosen(&self) -> bool {
        matches!(self, Self::These(_))
    }

    /// Who holds the limit, for the report.
    pub(super) fn by(&self) -> &'static str {
        match self {
            Self::These(_) => "the processors that it may run on",
            Self::All => "this machine, which has no more",
        }
    }
}

/// So many of a set, beginning at any.
fn some_of(own: &CpuSet, many: usize, seed: u32) -> CpuSet {
    let all: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| own.is_set(*cpu))
        .collect();
    let start = seed as usize % all.len().max(1);
    let mut some = CpuSet::new();
    for cpu in all.iter().cycle().skip(start).take(many.min(all.len())) {
        some.set(*cpu);
    }
    some
}

/// How many processors the machine has, from a list such as `0-3,6`.
fn online() -> Option<usize> {
    count(&std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?)
}

fn count(list: &str) -> Option<usize> {
    let of = |range: &str| -> Option<usize> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    };
    list.trim().split(',').map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::{CpuSet, Processors, count, some_of};
    use casemate_core::limits::{ByteSize, Limits, MilliCpus};

    #[test]
    fn lists() {
        assert_eq!(count("0-3,6\n"), Some(5));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count(""), None);
        assert_eq!(count("3-1"), None);
    }

    #[test]
    fn some_are_never_more_and_never_others() {
        let mut own = CpuSet::new();
        [1, 4, 5].into_iter().for_each(|cpu| own.set(cpu));
        for seed in 0..10 {
            let two = some_of(&own, 2, seed);
            assert_eq!(two.count(), 2);
            assert!((0..8).all(|cpu| own.is_set(cpu) || !two.is_set(cpu)));
            assert_eq!(some_of(&own, 9, seed), own);
        }
    }

    #[test]
    fn a_part_of_a_processor_is_no_choice() {
        let limits = |cpus| Limits {
            cpus: Some(MilliCpus(cpus)),
            ..Limits::defaults(ByteSize::mib(64))
        };
        for part in [10, 500, 1500] {
            assert!(Processors::choose(&limits(part)).is_none(), "{part}");
        }
        let all = Processors::choose(&limits(4_096_000));
        assert!(all.is_some_and(|all| !all.are_chosen()));
    }
}
