//! Numbers for Prometheus.
//!
//! What is counted by connection is in the [`ledger`](super::ledger) anyway, and is read when
//! somebody asks; only the histograms are filled as things happen.

use super::phases::Phase;
use super::shared::Shared;
use casemate_core::report::Connection;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// From a table lookup to a name server that doesn't answer.
const SECONDS: [f64; 12] = [
    0.000_005, 0.000_02, 0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 5.0, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the words that are shown")]
enum Stage {
    identify,
    hash,
    decide,
    dns,
    dial,
    tls,
}

/// The histograms, one a stage.
#[derive(Clone)]
pub struct Metrics(Family<OfStage, Histogram, fn() -> Histogram>);

impl Default for Metrics {
    fn default() -> Self {
        let family = Family::new_with_constructor(histogram as fn() -> Histogram);
        // All of them are there from the beginning: a stage that never happened is 0, not unknown.
        for stage in [
            Stage::identify,
            Stage::hash,
            Stage::decide,
            Stage::dns,
            Stage::dial,
            Stage::tls,
        ] {
            drop(family.get_or_create(&OfStage { stage }));
        }
        Self(family)
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(super) fn took(&self, phase: Phase, time: Duration) {
        let stage = match phase {
            Phase::PeerIdentity => Stage::identify,
            Phase::Hashing => Stage::hash,
            Phase::PolicyEvaluation => Stage::decide,
            Phase::Dns => Stage::dns,
            Phase::Connect => Stage::dial,
            Phase::Tls => Stage::tls,
            // Parts and sums of the others.
            Phase::SocketToPid
            | Phase::VerifyOrCache
            | Phase::EvaluationTotal
            | Phase::Heartbeat => return,
        };
        let of_stage = OfStage { stage };
        self.0.get_or_create(&of_stage).observe(time.as_secs_f64());
    }

    /// Everything, as text (OpenMetrics 1.0).
    pub(super) fn text(&self, shared: &Shared) -> String {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct Decided {
            decision: &'static str,
        }
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct Moved {
            direction: &'static str,
        }
        let totals = Totals::of(&shared.ledger.connections());
        let connections = Family::<Decided, Counter>::default();
        for (decision, count) in [("allowed", totals.allowed), ("denied", totals.denied)] {
            connections
                .get_or_create(&Decided { decision })
                .inc_by(count);
        }
        let bytes = Family::<Moved, Counter>::default();
        for (direction, count) in [("sent", totals.sent), ("received", totals.received)] {
            bytes.get_or_create(&Moved { direction }).inc_by(count);
        }
        let (open, lost, reloads): (Gauge, Counter, Counter) = Default::default();
        open.set(shared.open.load(Ordering::Relaxed));
        lost.inc_by(shared.journal.lost());
        reloads.inc_by(*shared.revision.borrow());
        let spans = Counter::<u64>::default();
        spans.inc_by(shared.phases.spans().map_or(0, super::spans::Spans::lost));

        let mut registry = Registry::with_prefix("casemate");
        registry.register_with_unit("stage", "Time of a stage", Unit::Seconds, self.0.clone());
        registry.register("connections", "Connections, by decision", connections);
        registry.register(
            "transferred",
            "Bytes of connections that ended, from the sandbox and to it",
            bytes,
        );
        registry.register("open_connections", "Connections at the proxy now", open);
        registry.register(
            "events_lost",
            "Events that the audit log had no room for",
            lost,
        );
        registry.register(
            "spans_lost",
            "Spans that never reached the collector",
            spans,
        );
        registry.register(
            "policy_reloads",
            "Policies put in force since the start",
            reloads,
        );
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// Sums of the ledger.
#[derive(Default)]
struct Totals {
    allowed: u64,
    denied: u64,
    sent: u64,
    received: u64,
}

impl Totals {
    fn of(connections: &[Connection]) -> Self {
        let mut totals = Self::default();
        for row in connections {
            match row.decision {
                "denied" => totals.denied += row.count,
                _ => totals.allowed += row.count,
            }
            totals.sent += row.sent;
            totals.received += row.received;
        }
        totals
    }
}
