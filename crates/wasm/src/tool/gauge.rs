//! Memory of a guest: counted, and limited.
//!
//! A growth beyond the limit ends the program with an error of its own. Wasm's own answer, a growth
//! that fails, is what a program gets that reaches the maximum which it declared itself; most that
//! get it trap somewhere later, and nobody could tell why.

use std::fmt;
use wasmtime::ResourceLimiter;

/// What an element of a table takes.
const ELEMENT: u64 = 8;

/// The bytes of all memories and tables of one guest.
pub(super) struct Gauge {
    limit: u64,
    now: u64,
    peak: u64,
    /// The last growth, which may still fail.
    last: u64,
}

/// The limit would have been passed.
#[derive(Debug)]
pub(super) struct OverMemory {
    /// What there would have been.
    pub(super) wanted: u64,
}

impl fmt::Display for OverMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of memory were wanted", self.wanted)
    }
}

impl std::error::Error for OverMemory {}

impl Gauge {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            now: 0,
            peak: 0,
            last: 0,
        }
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    fn grow(&mut self, by: u64) -> wasmtime::Result<bool> {
        let wanted = self.now.saturating_add(by);
        if wanted > self.limit {
            return Err(OverMemory { wanted }.into());
        }
        self.now = wanted;
        self.last = by;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    /// Whether something may grow to so many parts of this size; not beyond its own maximum.
    fn growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        size: u64,
    ) -> wasmtime::Result<bool> {
        self.last = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow((desired - current) as u64 * size)
    }

    /// A growth that was let through didn't come about.
    fn undo(&mut self) -> wasmtime::Result<()> {
        self.now -= std::mem::take(&mut self.last);
        Ok(())
    }
}

impl ResourceLimiter for Gauge {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.growing(current, desired, maximum, 1)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo()
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.growing(current, desired, maximum, ELEMENT)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut gauge = Gauge::new(1000);
        assert!(gauge.memory_growing(0, 600, None).unwrap());
        assert!(gauge.table_growing(0, 50, None).unwrap());
        assert!(!gauge.memory_growing(600, 900, Some(700)).unwrap());
        let error = gauge.memory_growing(600, 601, None).unwrap_err();
        assert_eq!(error.downcast_ref::<OverMemory>().unwrap().wanted, 1001);
        assert_eq!(gauge.peak(), 1000);
    }

    #[test]
    fn a_growth_that_failed_is_not_counted() {
        let mut gauge = Gauge::new(1000);
        assert!(gauge.memory_growing(0, 900, None).unwrap());
        gauge
            .memory_grow_failed(wasmtime::Error::msg("no"))
            .unwrap();
        assert!(gauge.memory_growing(0, 1000, None).unwrap());
    }
}
