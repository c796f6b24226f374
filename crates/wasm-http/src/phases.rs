//! How long the parts of calls take, as their owner measures it, for Prometheus.

use crate::owner::{Measured, Owner, Spread};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::Arc;

/// Asks the owner whenever somebody asks for the numbers.
pub(crate) struct Phases(pub(crate) Arc<dyn Owner>);

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phases")
    }
}

impl Collector for Phases {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        tell(&self.0.measured(), encoder)
    }
}

fn tell(measured: &Measured, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "casemate_wasm_turn",
        "How long the parts of canisters' turns took, and what they had to wait for",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (phase, spread) in &measured.phases {
        told(family.encode_family(&[("phase", *phase)])?, spread)?;
    }
    let instructions = encoder.encode_descriptor(
        "casemate_wasm_turn_instructions",
        "Instructions of each update",
        None,
        MetricType::Histogram,
    )?;
    told(instructions, &measured.instructions)
}

fn told(mut encoder: MetricEncoder<'_>, spread: &Spread) -> Result<(), fmt::Error> {
    let mut buckets = spread.buckets.clone();
    buckets.push((f64::INFINITY, spread.beyond));
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(spread.sum, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct Fixed(Measured);

    impl Collector for Fixed {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            tell(&self.0, encoder)
        }
    }

    #[test]
    fn what_was_measured_is_told() {
        let spread = |scale: f64| Spread {
            buckets: vec![(1.0 * scale, 2), (2.0 * scale, 3)],
            beyond: 1,
            sum: 7.5 * scale,
        };
        let fixed = Fixed(Measured {
            phases: vec![("run", spread(0.5)), ("disk", Spread::default())],
            instructions: spread(1000.0),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(fixed));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE casemate_wasm_turn_seconds histogram",
            "casemate_wasm_turn_seconds_sum{phase=\"run\"} 3.75",
            "casemate_wasm_turn_seconds_count{phase=\"run\"} 6",
            "casemate_wasm_turn_seconds_bucket{le=\"0.5\",phase=\"run\"} 2",
            "casemate_wasm_turn_seconds_bucket{le=\"1.0\",phase=\"run\"} 5",
            "casemate_wasm_turn_seconds_bucket{le=\"+Inf\",phase=\"run\"} 6",
            "casemate_wasm_turn_seconds_count{phase=\"disk\"} 0",
            "casemate_wasm_turn_instructions_bucket{le=\"+Inf\"} 6",
            "casemate_wasm_turn_instructions_sum 7500.0",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}:\n{text}");
        }
    }
}
