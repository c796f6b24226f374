//! Limits of the policy's entries: connections at a time, new ones per second, bytes in all.

use casemate_policy::network::EntryLimits;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What the entries have used so far, by name.
#[derive(Default)]
pub(super) struct Quotas {
    entries: Mutex<HashMap<String, Arc<Used>>>,
}

struct Used {
    open: AtomicU32,
    bytes: AtomicU64,
    /// Connections that may be opened now, as of then: a bucket that fills by `rate` a second.
    bucket: Mutex<(f64, Instant)>,
}

/// One connection's share. Dropped, the connection no longer counts.
pub(super) struct Meter {
    shares: Vec<(Arc<Used>, EntryLimits)>,
}

impl Quotas {
    /// Takes a new connection into account for each of the entries.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn open<'a>(
        &self,
        entries: impl Iterator<Item = (&'a str, EntryLimits)>,
    ) -> Result<Meter, String> {
        let mut meter = Meter { shares: Vec::new() };
        for (name, limits) in entries.filter(|(_, limits)| *limits != EntryLimits::default()) {
            let used = self.used(name, limits);
            used.open.fetch_add(1, Ordering::Relaxed);
            meter.shares.push((Arc::clone(&used), limits));
            if let Some(most) = limits.connections
                && used.open.load(Ordering::Relaxed) > most
            {
                return Err(format!("{name} allows {most} connections at a time"));
            }
            if let Some(rate) = limits.rate
                && !used.may_open(rate)
            {
                return Err(format!("{name} allows {rate} new connections per second"));
            }
            if let Some(most) = limits.bytes
                && used.bytes.load(Ordering::Relaxed) >= most
            {
                return Err(format!("the {most} bytes that {name} allows are used up"));
            }
        }
        Ok(meter)
    }

    fn used(&self, name: &str, limits: EntryLimits) -> Arc<Used> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = entries.get(name) {
            return Arc::clone(used);
        }
        let full = f64::from(limits.rate.unwrap_or(0));
        let used = Arc::new(Used {
            open: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            bucket: Mutex::new((full, Instant::now())),
        });
        entries.insert(name.to_owned(), Arc::clone(&used));
        used
    }
}

impl Used {
    fn may_open(&self, rate: u32) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *bucket;
        let now = Instant::now();
        let filled = now.duration_since(since).as_secs_f64() * f64::from(rate);
        let left = (left + filled).min(f64::from(rate));
        let may = left >= 1.0;
        *bucket = (if may { left - 1.0 } else { left }, now);
        may
    }
}

impl Meter {
    /// Takes bytes into account.
    ///
    /// # Errors
    /// An entry has none left.
    pub(super) fn take(&self, count: u64) -> io::Result<()> {
        for (used, limits) in &self.shares {
            let before = used.bytes.fetch_add(count, Ordering::Relaxed);
            if limits
                .bytes
                .is_some_and(|most| before.saturating_add(count) > most)
            {
                return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
            }
        }
        Ok(())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        for (used, _) in &self.shares {
            used.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EntryLimits, Quotas};

    #[test]
    fn connections_count_while_they_are_open() {
        let (quotas, two) = (
            Quotas::default(),
            EntryLimits {
                connections: Some(2),
                ..EntryLimits::default()
            },
        );
        let open = || quotas.open([("a", two)].into_iter());
        let (first, second) = (open().unwrap(), open().unwrap());
        assert_eq!(open().err().unwrap(), "a allows 2 connections at a time");
        drop(first);
        assert!(open().is_ok());
        drop(second);
    }

    #[test]
    fn bytes_count_for_all_connections_together() {
        let (quotas, ten) = (
            Quotas::default(),
            EntryLimits {
                bytes: Some(10),
                ..EntryLimits::default()
            },
        );
        let open = || quotas.open([("a", ten)].into_iter());
        let (first, second) = (open().unwrap(), open().unwrap());
        assert!(first.take(6).is_ok());
        assert!(second.take(4).is_ok());
        assert!(first.take(1).is_err());
        assert!(open().is_err());
    }

    #[test]
    fn a_rate_is_a_burst_and_then_waits() {
        let (quotas, three) = (
            Quotas::default(),
            EntryLimits {
                rate: Some(3),
                ..EntryLimits::default()
            },
        );
        let opened = (0..10)
            .filter(|_| quotas.open([("a", three)].into_iter()).is_ok())
            .count();
        assert_eq!(opened, 3);
    }
}
