//! What a connection costs: without a sandbox, as the program's own, and through the relay; and
//! what it costs to get to know a program.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::stage::{Run, Stage};
use super::{Options, Part, phases, requests};
use crate::bench::stats::Summary;

/// An executable as large as that of a well-known agent.
pub(super) const LARGE: u64 = 124 << 20;
/// Programs that are met for the first time at once.
const NEWCOMERS: usize = 10;

/// Connections before they are.
const IDLE: usize = 1000;
/// Of the program that connects meanwhile, with the microseconds from one connection to the next.
const PACES: [(&str, u64); 2] = [("1,000 a second", 1000), ("without pause", 0)];

/// One number, several times.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) summary: Option<Summary>,
}

/// The parts that are wanted; or why not.
pub(super) fn measure(options: &Options) -> Result<Vec<Row>> {
    let parts = [
        Part::Latency,
        Part::Bulk,
        Part::Cold,
        Part::Phases,
        Part::Newcomers,
        Part::Many,
        Part::Inspected,
    ];
    let mut rows = Vec::new();
    if !parts.iter().any(|part| options.wants(*part)) {
        return Ok(rows);
    }
    let stage = Stage::new()?;
    let rounds = if options.quick { 1 } else { 9 };
    for part in parts.into_iter().filter(|part| options.wants(*part)) {
        match part {
            Part::Decisions => {}
            Part::Latency => {
                for crowd in [(0, ""), (10, ", 10 processes"), (500, ", 500 processes")] {
                    latency(&stage, crowd, rounds, &mut rows)?;
                }
            }
            Part::Bulk => bulk(&stage, rounds, options.quick, &mut rows)?,
            Part::Cold => cold(&stage, rounds.min(5), &mut rows)?,
            Part::Phases => phases::measure(&stage, rounds.min(5), &mut rows)?,
            Part::Newcomers => {
                for pace in PACES {
                    newcomers(&stage, pace, &mut rows)?;
                }
            }
            Part::Many => many(&stage, &mut rows)?,
            Part::Inspected => inspected(&stage, rounds.min(5), &mut rows)?,
        }
    }
    Ok(rows)
}

fn words(stage: &Stage, more: &[String]) -> Vec<String> {
    let to = [stage.direct, stage.relayed];
    let to = to
        .into_iter()
        .flat_map(|to| ["--to".into(), to.to_string()]);
    to.chain(more.iter().cloned()).collect()
}

fn latency(
    stage: &Stage,
    (crowd, name): (usize, &str),
    rounds: usize,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let more = |crowd: usize| {
        [
            "--connects".into(),
            "200".into(),
            "--crowd".into(),
            crowd.to_string(),
        ]
    };
    let (mut bare, mut direct, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let found = stage.bare(&words(stage, &more(0)))?;
        bare.extend(found.connects.concat());
        let arguments = words(stage, &more(crowd));
        let (found, _) = stage.run(&Run {
            arguments,
            ..Run::default()
        })?;
        ensure!(found.connects.len() == 2, "both were asked for");
        direct.extend(&found.connects[0]);
        relayed.extend(&found.connects[1]);
    }
    for (what, own, most) in [("fast path", &direct, 30), ("relayed", &relayed, 80)] {
        rows.push(row(
            format!("connect, {what}{name}: added (asked: at most {most})"),
            "µs",
            &added(own, &bare),
        ));
    }
    for (what, samples) in [
        ("no sandbox", bare),
        ("fast path", direct),
        ("relayed", relayed),
    ] {
        rows.push(row(format!("connect, {what}{name}"), "µs", &samples));
    }
    Ok(())
}

fn bulk(stage: &Stage, rounds: usize, quick: bool, rows: &mut Vec<Row>) -> Result<()> {
    let bytes: u64 = if quick { 64 << 20 } else { 2 << 30 };
    let more = ["--bulk".into(), bytes.to_string()];
    let (mut bare, mut direct, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.min(5) {
        bare.extend(stage.bare(&words(stage, &more))?.rates);
        let arguments = words(stage, &more);
        let (found, _) = stage.run(&Run {
            arguments,
            ..Run::default()
        })?;
        ensure!(found.rates.len() == 2, "both were asked for");
        direct.push(found.rates[0]);
        relayed.push(found.rates[1]);
    }
    for (what, own, asked) in [("fast path", &direct, 0.95), ("relayed", &relayed, 0.8)] {
        let ratio = ratio(own, &bare);
        rows.push(row(
            format!("bulk, {what} / no sandbox (asked: at least {asked})"),
            "×",
            &ratio,
        ));
    }
    for (what, samples) in [
        ("no sandbox", bare),
        ("fast path", direct),
        ("relayed", relayed),
    ] {
        rows.push(row(format!("bulk, {what}"), "MB/s", &samples));
    }
    Ok(())
}

/// The first connection of a large program, and the following ones.
fn cold(stage: &Stage, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let large = stage.large("large", LARGE)?;
    let (mut first, mut warm, mut grown, mut openssl) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        let run = Run {
            executable: Some(&large),
            cold: true,
            timed: false,
            arguments: ["--to", &stage.relayed.to_string(), "--connects", "50"]
                .map(str::to_owned)
                .into(),
        };
        let (found, memory) = stage.run(&run)?;
        first.extend(found.first.iter().map(|us| us / 1e3));
        warm.extend(found.connects.concat().iter().map(|us| us / 1e3));
        grown.push(memory.after.saturating_sub(memory.before) as f64 / 1024.0);
        let start = Instant::now();
        let digest = Command::new("openssl")
            .args(["dgst", "-sha256"])
            .arg(&large)
            .output();
        if digest.is_ok_and(|output| output.status.success()) {
            openssl.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    rows.push(row(
        "124 MB program, first connection (evaluation in all, to beat: 1002)".into(),
        "ms",
        &first,
    ));
    rows.push(row(
        "openssl dgst -sha256 of it (hashing, to beat: 890)".into(),
        "ms",
        &openssl,
    ));
    let hashed = ratio(&first, &openssl);
    rows.push(row(
        "first connection / openssl (hashing asked: at most 1.1)".into(),
        "×",
        &hashed,
    ));
    rows.push(row(
        "its later connections (to beat: 11)".into(),
        "ms",
        &warm,
    ));
    rows.push(row(
        "growth of the supervisor meanwhile, without its code (asked: at most 1)".into(),
        "MiB",
        &grown,
    ));
    Ok(())
}

/// How a program fares that connects meanwhile.
fn newcomers(stage: &Stage, (pace, every): (&str, u64), rows: &mut Vec<Row>) -> Result<()> {
    let mut arguments: Vec<String> = [
        "--to",
        &stage.relayed.to_string(),
        "--connects",
        &IDLE.to_string(),
        "--every",
        &every.to_string(),
    ]
    .map(str::to_owned)
    .into();
    for number in 0..NEWCOMERS {
        let file = stage.large(&format!("newcomer{number}"), LARGE)?;
        arguments.extend(["--alongside".into(), file.display().to_string()]);
    }
    let timed = Run {
        cold: true,
        timed: true,
        arguments: arguments.clone(),
        ..Run::default()
    };
    stage.run(&timed)?;
    let late = phases::lateness(stage)?;
    let (found, _) = stage.run(&Run {
        cold: true,
        arguments,
        ..Run::default()
    })?;
    let mut idle = found.connects.concat();
    let mut during = idle.split_off(IDLE.min(idle.len()));
    let cold = format!("{pace}, while {NEWCOMERS} such programs are met");
    rows.push(row(format!("connect, relayed, {cold}"), "µs", &during));
    let (before, now) = (percentile(&mut idle, 99), percentile(&mut during, 99));
    rows.push(row(
        format!("connect, relayed, 99th percentile, {pace}, idle"),
        "µs",
        &before,
    ));
    rows.push(row(
        format!("connect, relayed, 99th percentile, {cold}"),
        "µs",
        &now,
    ));
    rows.push(row(
        "the same / idle (asked: at most 2)".into(),
        "×",
        &ratio(&now, &before),
    ));
    let worst: Vec<f64> = percentile(&mut during, 100)
        .iter()
        .map(|us| us / 1e3)
        .collect();
    rows.push(row(
        format!("the longest that one waits, {cold} (asked: at most 10)"),
        "ms",
        &worst,
    ));
    rows.push(row(
        format!("the executor's timer is late by, {cold} (asked: at most 10)"),
        "ms",
        &late,
    ));
    Ok(())
}

/// What the supervisor takes when many connections are relayed at one time.
fn many(stage: &Stage, rows: &mut Vec<Row>) -> Result<()> {
    let arguments = ["--to", &stage.relayed.to_string(), "--open", "1000"];
    let (_, memory) = stage.run(&Run {
        arguments: arguments.map(str::to_owned).into(),
        ..Run::default()
    })?;
    rows.push(row(
        "the supervisor with 1,000 connections at one time (asked: at most 64)".into(),
        "MiB",
        &[memory.most as f64 / 1024.0],
    ));
    Ok(())
}

fn inspected(stage: &Stage, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let (bare, own) = requests::measure(stage, rounds)?;
    rows.push(row("request over TLS, no sandbox".into(), "µs", &bare));
    rows.push(row("request over TLS, inspected".into(), "µs", &own));
    rows.push(row(
        "request over TLS: added (asked: at most 300)".into(),
        "µs",
        &added(&own, &bare),
    ));
    Ok(())
}

/// What the median is higher by; nothing if there is none.
fn added(own: &[f64], bare: &[f64]) -> Vec<f64> {
    let both = median(own).zip(median(bare));
    both.map(|(own, bare)| own - bare).into_iter().collect()
}

fn median(samples: &[f64]) -> Option<f64> {
    Summary::of(samples).map(|summary| summary.median)
}

/// Of the medians; nothing if there are none.
fn ratio(own: &[f64], other: &[f64]) -> Vec<f64> {
    let both = median(own).zip(median(other));
    both.map(|(own, other)| own / other).into_iter().collect()
}

/// Sorts them; nothing if there are none.
fn percentile(samples: &mut [f64], percent: usize) -> Vec<f64> {
    samples.sort_by(f64::total_cmp);
    let place = (samples.len() * percent).div_ceil(100).saturating_sub(1);
    samples.get(place).copied().into_iter().collect()
}

pub(super) fn row(what: String, unit: &'static str, samples: &[f64]) -> Row {
    Row {
        what,
        unit,
        summary: Summary::of(samples),
    }
}

impl Row {
    pub(super) fn cells(&self) -> Vec<String> {
        let shown = match self.summary {
            Some(Summary {
                median,
                min,
                p90,
                n,
            }) => {
                let digits = if self.unit == "×" { 2 } else { 1 };
                format!("{median:.digits$} [{min:.digits$} {p90:.digits$}] n={n}")
            }
            None => "-".to_owned(),
        };
        vec![self.what.clone(), self.unit.to_owned(), shown]
    }
}
