//! What a process weighs: memory, descriptors, threads; over time.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Descriptors that are kept of those who connected last: a pidfd and an fdinfo of each of 16
/// threads, three files of each of 16 processes, three of each of 8 members of a household.
pub(crate) const KEPT: usize = 16 * 2 + 16 * 3 + 8 * 3;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// At first caches fill, and the allocator gets its share.
const WARM_UP: Duration = Duration::from_secs(90);
/// Fewer looks tell nothing of growth.
const ENOUGH: usize = 40;
/// Growth that is no growth: a quarter of a MiB, in KiB.
const LITTLE: f64 = 256.0;

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Since it was first looked at.
    pub(crate) at: Duration,
    /// Its share of the pages that it wrote (PSS, anonymous and shared memory), in KiB. The program's
    /// own code isn't among them: it comes as it is first run, in steps, and the kernel can drop it.
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, memory) = (self.at.as_secs(), self.memory);
        write!(
            f,
            "{at:4} s {memory:6} KiB {:4} descriptors {:3} threads",
            self.descriptors, self.threads
        )
    }
}

/// Weighs one process.
pub(crate) struct Scale {
    folder: String,
    since: Instant,
}

impl Scale {
    pub(crate) fn of(pid: u32) -> Self {
        let (folder, since) = (format!("/proc/{pid}"), Instant::now());
        Self { folder, since }
    }

    pub(crate) fn weigh(&self) -> Weight {
        let rollup = fs::read_to_string(format!("{}/smaps_rollup", self.folder)).unwrap();
        let share = |name| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            let size = line.expect(name).trim().trim_end_matches(" kB");
            size.parse::<u64>().unwrap()
        };
        let entries = |name| {
            fs::read_dir(format!("{}/{name}", self.folder))
                .unwrap()
                .count()
        };
        Weight {
            at: self.since.elapsed(),
            memory: share("Pss_Anon:") + share("Pss_Shmem:"),
            descriptors: entries("fd"),
            threads: entries("task"),
        }
    }

    /// When the connections so far are closed.
    pub(crate) fn settled(&self) -> Weight {
        let mut last = self.weigh();
        let mut same = 0;
        while same < 10 {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.weigh();
            same = if now.descriptors == last.descriptors {
                same + 1
            } else {
                0
            };
            last = now;
        }
        last
    }

    /// Waits until it is back to what it was, but not for ever.
    pub(crate) fn settles_at(&self, before: &Weight, most: Duration) -> Weight {
        let begun = Instant::now();
        loop {
            let now = self.weigh();
            if now.descriptors <= before.descriptors + KEPT || begun.elapsed() > most {
                return now;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Looks again and again until it is over.
    pub(crate) fn watch(&self, over: &AtomicBool) -> Vec<Weight> {
        let mut weights = Vec::new();
        let mut due = Instant::now();
        while !over.load(Ordering::Relaxed) {
            if due <= Instant::now() {
                let now = self.weigh();
                println!("{now}");
                weights.push(now);
                due += PAUSE;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        weights
    }
}

/// Fails if the memory grew by more than it varies, from the time when it was warm. A run that is
/// too short to tell says so.
pub(crate) fn check(weights: &[Weight]) {
    let warm: Vec<(f64, f64)> = weights
        .iter()
        .filter(|weight| weight.at >= WARM_UP)
        .map(|weight| (weight.at.as_secs_f64(), weight.memory as f64))
        .collect();
    if warm.len() < ENOUGH {
        return println!("too short to say whether the memory grows");
    }
    let slope = slope(&warm);
    let growth = slope * (warm[warm.len() - 1].0 - warm[0].0);
    let mut rests: Vec<f64> = warm
        .iter()
        .map(|(at, memory)| memory - slope * at)
        .collect();
    let middle = median(&mut rests);
    let mut away: Vec<f64> = rests.iter().map(|rest| (rest - middle).abs()).collect();
    let noise = median(&mut away);
    println!(
        "memory: {growth:.0} KiB more at the end, {:.1} KiB a minute, give or take {noise:.0} KiB",
        slope * 60.0
    );
    assert!(growth <= (4.0 * noise).max(LITTLE), "the memory grows");
}

/// The median of the slopes between any two points (Theil and Sen): single ones don't matter.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(index, one)| {
        let later = points[index + 1..].iter();
        later.map(move |other| (other.1 - one.1) / (other.0 - one.0))
    });
    median(&mut pairs.collect::<Vec<_>>())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
