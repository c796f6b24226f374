//! Numbers for Prometheus.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// From the warm pool to a machine that is full.
const SECONDS: [f64; 12] = [
    0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the words that are shown")]
pub(crate) enum Step {
    create,
    connect,
    pause,
    resume,
    kill,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    step: Step,
}

/// How long steps took, and how many failed.
#[derive(Clone)]
pub(crate) struct Numbers {
    took: Family<Labels, Histogram, fn() -> Histogram>,
    failed: Family<Labels, Counter>,
    killed: Counter,
    running: Gauge,
    paused: Gauge,
}

impl Default for Numbers {
    fn default() -> Self {
        let numbers = Self {
            took: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            failed: Family::default(),
            killed: Counter::default(),
            running: Gauge::default(),
            paused: Gauge::default(),
        };
        // All are there from the beginning: what never happened is 0, not unknown.
        use Step::{connect, create, kill, pause, resume};
        for step in [create, connect, pause, resume, kill] {
            drop(numbers.took.get_or_create(&Labels { step }));
            drop(numbers.failed.get_or_create(&Labels { step }));
        }
        numbers
    }
}

impl Numbers {
    pub(crate) fn took(&self, step: Step, time: Duration, done: bool) {
        let labels = Labels { step };
        self.took.get_or_create(&labels).observe(time.as_secs_f64());
        if !done {
            self.failed.get_or_create(&labels).inc();
        }
    }

    /// So many processes were killed for memory.
    pub(crate) fn killed(&self, processes: u64) {
        self.killed.inc_by(processes);
    }

    pub(crate) fn there_are(&self, running: usize, paused: usize) {
        self.running.set(running as i64);
        self.paused.set(paused as i64);
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "casemate_sandbox_step",
            "How long a step in the life of a sandbox took, failed ones included",
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register(
            "casemate_sandbox_step_failures",
            "Steps in the life of a sandbox that failed",
            self.failed.clone(),
        );
        registry.register(
            "casemate_sandbox_killed_processes",
            "Processes in sandboxes that were killed because memory was used up",
            self.killed.clone(),
        );
        registry.register(
            "casemate_sandboxes_running",
            "Sandboxes that run",
            self.running.clone(),
        );
        registry.register(
            "casemate_sandboxes_paused",
            "Sandboxes that are paused",
            self.paused.clone(),
        );
    }
}
