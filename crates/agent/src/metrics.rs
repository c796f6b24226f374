//! `/metrics`: processor, memory and disk as the sandbox sees them.

use crate::Agent;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The answer; sizes in bytes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Metrics {
    ts: u64,
    cpu_count: usize,
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    disk_used: u64,
    disk_total: u64,
}

/// Processor time is a sum; what was used is the difference since the last question.
pub(crate) struct Sampler(Mutex<Ticks>);

/// Ticks of all processors since boot (proc_stat(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Ticks::now()))
    }

    fn used_pct(&self) -> f64 {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Ticks::now();
        let used = now.since(*before);
        *before = now;
        used
    }
}

impl Ticks {
    fn now() -> Self {
        std::fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| Self::parse(&text))
            .unwrap_or_default()
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guests are in
    /// `user` already.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let mut all = 0u64;
        let mut idle = 0u64;
        for (index, field) in line.split_ascii_whitespace().take(8).enumerate() {
            let ticks: u64 = field.parse().ok()?;
            all = all.saturating_add(ticks);
            if matches!(index, 3 | 4) {
                idle = idle.saturating_add(ticks);
            }
        }
        let busy = all.saturating_sub(idle);
        Some(Self { busy, all })
    }

    /// Hundredths of all processors that were busy between two samples, to two digits.
    fn since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 {
            return 0.0;
        }
        let busy = self.busy.saturating_sub(before.busy);
        (busy as f64 / all as f64 * 10_000.0).round() / 100.0
    }
}

/// GET /metrics.
pub(crate) async fn metrics(State(agent): State<Arc<Agent>>) -> Json<Metrics> {
    let mut metrics = Metrics {
        ts: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
        cpu_count: std::thread::available_parallelism().map_or(1, Into::into),
        cpu_used_pct: agent.metrics.used_pct(),
        ..Metrics::default()
    };
    if let Ok(text) = std::fs::read_to_string("/proc/meminfo") {
        let value = |name| meminfo(&text, name);
        metrics.mem_total = value("MemTotal:");
        metrics.mem_used = metrics.mem_total.saturating_sub(value("MemAvailable:"));
        metrics.mem_cache = value("Cached:");
    }
    if let Ok(disk) = rustix::fs::statvfs("/") {
        metrics.disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free = disk.f_bfree.saturating_mul(disk.f_frsize);
        metrics.disk_used = metrics.disk_total.saturating_sub(free);
    }
    Json(metrics)
}

/// A line of proc_meminfo(5), in bytes.
fn meminfo(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_what_happened_between_two_samples() {
        let before = Ticks::parse("cpu  10 0 10 60 20 0 0 0 5 0\ncpu0 1").unwrap();
        assert_eq!(before, Ticks { busy: 20, all: 100 });
        let after = Ticks { busy: 45, all: 200 };
        assert_eq!(after.since(before), 25.0);
        assert_eq!(after.since(after), 0.0);
        assert_eq!(before.since(after), 0.0);
    }

    #[test]
    fn nonsense_is_no_sample() {
        for text in ["", "cpu", "cpu0 1 2", "cpu a b"] {
            assert_eq!(Ticks::parse(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        let text = "MemTotal:  16 kB\nMemFree: x\nCached:  2 kB\n";
        assert_eq!(meminfo(text, "MemTotal:"), 16384);
        assert_eq!(meminfo(text, "MemFree:"), 0);
        assert_eq!(meminfo(text, "SwapTotal:"), 0);
    }
}
