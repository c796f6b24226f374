//! Where the time of a connection goes: the phases of a perf log, when a program is met and when it
//! is known.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::crossing::{LARGE, Row, row};
use super::stage::{Run, Stage};

/// Milliseconds, cold and warm; none if nobody says.
type Beaten = Option<(u32, u32)>;

/// A phase's name, what it is, and what it takes elsewhere, cold and warm, in milliseconds.
const PHASES: [(&str, &str, Beaten); 6] = [
    ("socket_to_pid", "socket to process", None),
    ("peer_identity", "peer's identity, with the next two", None),
    ("verify_or_cache", "verifying, with the next one", None),
    ("hashing", "hashing", Some((890, 0))),
    ("policy_evaluation", "policy (OPA there)", Some((1, 1))),
    ("connect", "connecting to an address", None),
];
/// What is above and below a decision, added up.
const TOTAL: (u32, u32) = (1002, 11);

/// Milliseconds, by phase.
type Times = HashMap<String, Vec<f64>>;

/// A run of a large program for each round.
pub(super) fn measure(stage: &Stage, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let large = stage.large("phases", LARGE)?;
    let run = Run {
        executable: Some(&large),
        cold: true,
        timed: true,
        arguments: ["--to", &stage.relayed.to_string(), "--connects", "50"]
            .map(str::to_owned)
            .into(),
    };
    let (mut cold, mut warm): (Times, Times) = Default::default();
    for _ in 0..rounds {
        stage.run(&run)?;
        for (phase, times) in read(stage)? {
            let mut times = times.into_iter();
            // Files are hashed for the first connection only; there may be several.
            let first = match phase.as_str() {
                "hashing" => Some(times.by_ref().sum()),
                _ => times.next(),
            };
            cold.entry(phase.clone()).or_default().extend(first);
            warm.entry(phase).or_default().extend(times);
        }
    }
    let of = |times: &Times, phase: &str| times.get(phase).cloned().unwrap_or_default();
    for (phase, what, beaten) in PHASES {
        for (when, times) in [("cold", &cold), ("warm", &warm)] {
            let mut own = of(times, phase);
            if phase == "hashing" && own.is_empty() {
                own.push(0.0);
            }
            rows.push(row(title(what, when, beaten), "ms", &own));
        }
    }
    // Who it is is found out before the connection arrives.
    for (when, times) in [("cold", &cold), ("warm", &warm)] {
        let pairs = of(times, "peer_identity").into_iter();
        let all = pairs.zip(of(times, "evaluation_total"));
        let all: Vec<f64> = all
            .map(|(identity, decision)| identity + decision)
            .collect();
        rows.push(row(
            title("evaluation in all", when, Some(TOTAL)),
            "ms",
            &all,
        ));
    }
    Ok(())
}

/// What the executor's timer was late by, at most, in the last run, in milliseconds.
pub(super) fn lateness(stage: &Stage) -> Result<Vec<f64>> {
    let beats = read(stage)?.remove("heartbeat").unwrap_or_default();
    Ok(beats
        .into_iter()
        .max_by(f64::total_cmp)
        .into_iter()
        .collect())
}

fn title(what: &str, when: &str, beaten: Beaten) -> String {
    match beaten {
        Some((cold, warm)) => {
            let figure = if when == "cold" { cold } else { warm };
            format!("phase, {when}: {what} (to beat: {figure})")
        }
        None => format!("phase, {when}: {what}"),
    }
}

fn read(stage: &Stage) -> Result<Times> {
    let text = std::fs::read_to_string(stage.log()).context("there is no perf log")?;
    let mut times = Times::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).context("the perf log is no JSON")?;
        if let (Some(phase), Some(us)) = (line["phase"].as_str(), line["us"].as_f64()) {
            times.entry(phase.to_owned()).or_default().push(us / 1e3);
        }
    }
    Ok(times)
}
