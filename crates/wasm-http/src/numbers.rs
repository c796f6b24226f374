//! Numbers for Prometheus.

use crate::fault::{Fault, Kind};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// From an empty call in a warm worker to as many instructions as a call may have.
const SECONDS: [f64; 14] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the words that are shown")]
pub(crate) enum Work {
    call,
    query,
    site,
    install,
    carry,
}

/// What took how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the words that are shown")]
pub(crate) enum Phase {
    /// In the line.
    wait,
    /// From then on to the outcome.
    run,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    work: Work,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    work: Work,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// What is counted of canisters. Copies are the same numbers.
#[derive(Clone)]
pub struct Numbers {
    calls: Family<Called, Counter>,
    took: Family<Took, Histogram, fn() -> Histogram>,
    instructions: Family<Of, Counter>,
    evicted: Family<Why, Counter>,
    workers: Gauge,
    resident: Gauge,
}

impl Default for Numbers {
    fn default() -> Self {
        let numbers = Self {
            calls: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            instructions: Family::default(),
            evicted: Family::default(),
            workers: Gauge::default(),
            resident: Gauge::default(),
        };
        // All are there from the beginning: what never happened is 0, not unknown.
        for work in [
            Work::call,
            Work::query,
            Work::site,
            Work::install,
            Work::carry,
        ] {
            drop(numbers.calls.get_or_create(&called(work, None)));
            drop(numbers.instructions.get_or_create(&Of { work }));
            for phase in [Phase::wait, Phase::run] {
                drop(numbers.took.get_or_create(&Took { work, phase }));
            }
        }
        numbers
    }
}

fn called(work: Work, fault: Option<Kind>) -> Called {
    let word = |kind: Kind| {
        let word = serde_json::to_value(kind).ok();
        word.and_then(|word| word.as_str().map(str::to_owned))
    };
    Called {
        work,
        outcome: fault.and_then(word).unwrap_or_else(|| "replied".to_owned()),
    }
}

impl Numbers {
    pub(crate) fn called(&self, work: Work, fault: Option<&Fault>, instructions: u64) {
        let kind = fault.map(|fault| fault.kind);
        self.calls.get_or_create(&called(work, kind)).inc();
        let sum = self.instructions.get_or_create(&Of { work });
        sum.inc_by(instructions);
    }

    pub(crate) fn took(&self, work: Work, phase: Phase, time: Duration) {
        let histogram = self.took.get_or_create(&Took { work, phase });
        histogram.observe(time.as_secs_f64());
    }

    /// So many workers are there, with so much memory, bytes.
    pub fn there_are(&self, workers: usize, resident: u64) {
        self.workers.set(i64::try_from(workers).unwrap_or(i64::MAX));
        self.resident
            .set(i64::try_from(resident).unwrap_or(i64::MAX));
    }

    /// A worker was let go.
    pub fn evicted(&self, reason: &'static str) {
        self.evicted.get_or_create(&Why { reason }).inc();
    }

    /// Puts the numbers among those that Prometheus reads.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "casemate_wasm_calls",
            "Calls of canisters, by what was asked and what came of it",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "casemate_wasm_phase",
            "How long calls of canisters waited for their turn, and ran",
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register(
            "casemate_wasm_instructions",
            "Instructions that calls of canisters took",
            self.instructions.clone(),
        );
        registry.register(
            "casemate_wasm_evictions",
            "Workers that were let go, by reason",
            self.evicted.clone(),
        );
        registry.register(
            "casemate_wasm_workers",
            "Processes that canisters run in",
            self.workers.clone(),
        );
        registry.register_with_unit(
            "casemate_wasm_workers_resident",
            "Memory of these processes",
            Unit::Bytes,
            self.resident.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn what_happened_is_counted_by_its_words() {
        let (numbers, mut registry) = (Numbers::default(), Registry::default());
        numbers.register(&mut registry);
        numbers.called(Work::call, None, 100);
        numbers.called(Work::call, Some(&Fault::new(Kind::NoMethod, "")), 0);
        numbers.took(Work::query, Phase::wait, Duration::from_millis(3));
        numbers.evicted("idle");
        numbers.there_are(2, 4096);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "casemate_wasm_calls_total{work=\"call\",outcome=\"replied\"} 1",
            "casemate_wasm_calls_total{work=\"call\",outcome=\"no_method\"} 1",
            "casemate_wasm_calls_total{work=\"site\",outcome=\"replied\"} 0",
            "casemate_wasm_instructions_total{work=\"call\"} 100",
            "casemate_wasm_phase_seconds_count{work=\"query\",phase=\"wait\"} 1",
            "casemate_wasm_evictions_total{reason=\"idle\"} 1",
            "casemate_wasm_workers 2",
            "casemate_wasm_workers_resident_bytes 4096",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}:\n{text}");
        }
    }
}
