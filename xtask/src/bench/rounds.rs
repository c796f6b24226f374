//! Carrying a plan out: every wall once in each round, in an order that turns by one from
//! round to round, so that no wall always runs after the same neighbour.
//!
//! This runs in a process of its own that already is the user to be measured: a program
//! that changes its user at each start can't use the fast way of starting others.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::ground::Home;
use super::plan::{Case, Column, Measure, Plan};
use super::tools::Tools;
use super::tree;
use crate::command::last_words;

/// The numbers of one case.
#[derive(Serialize, Deserialize)]
pub(crate) struct CaseSamples {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) columns: Vec<ColumnSamples>,
}

/// The numbers of one wall in a case.
#[derive(Serialize, Deserialize)]
pub(crate) struct ColumnSamples {
    pub(crate) name: String,
    pub(crate) samples: Vec<f64>,
    /// Why the wall left the case, if it did.
    pub(crate) failure: Option<String>,
}

/// Names the plan.
#[derive(clap::Args)]
pub(crate) struct RoundsOptions {
    plan: PathBuf,
}

/// The chore's side: starts this program again as the user and reads what it found.
pub(crate) fn as_user(plan: &Plan, tools: &Tools, home: &Home) -> Result<Vec<CaseSamples>> {
    let program = home.work.join("xtask");
    std::fs::copy(&tools.xtask, &program)
        .with_context(|| format!("cannot place {}", program.display()))?;
    let file = tempfile::Builder::new()
        .permissions(readable())
        .tempfile()?;
    serde_json::to_writer(&file, plan)?;
    let out = home
        .program(&tools.xtask)
        .arg("bench-rounds")
        .arg(file.path())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", tools.xtask.display()))?;
    if !out.status.success() {
        bail!("measuring as uid {} ended with {}", home.uid, out.status);
    }
    serde_json::from_slice(&out.stdout).context("the measuring process wrote no samples")
}

/// The measuring process.
pub(crate) fn rounds(options: &RoundsOptions) -> Result<()> {
    // If the chore is killed, its numbers interest nobody and its files go.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let text = std::fs::read(&options.plan)
        .with_context(|| format!("cannot read the plan {}", options.plan.display()))?;
    let plan: Plan = serde_json::from_slice(&text).context("the plan is not one of ours")?;
    tree::plant(&plan.work)?;
    let cases = plan
        .cases
        .iter()
        .map(carry_out)
        .collect::<Result<Vec<_>>>()?;
    serde_json::to_writer(std::io::stdout().lock(), &cases)?;
    Ok(())
}

fn carry_out(case: &Case) -> Result<CaseSamples> {
    eprintln!("xtask: {} × {}", case.rounds, case.name);
    // The children inherit it; asking for it at each start would cost each start.
    std::env::set_current_dir(&case.directory)
        .with_context(|| format!("cannot work in {}", case.directory.display()))?;
    let mut columns: Vec<ColumnSamples> = case.columns.iter().map(ColumnSamples::none).collect();
    for round in 0..case.warm_ups + case.rounds {
        for index in turned(columns.len(), round) {
            let counts = round >= case.warm_ups;
            columns[index].add(counts, || sample(&case.columns[index], case.measure));
        }
    }
    Ok(CaseSamples {
        name: case.name.clone(),
        unit: case.unit.clone(),
        columns,
    })
}

impl ColumnSamples {
    fn none(column: &Column) -> Self {
        ColumnSamples {
            name: column.name.clone(),
            samples: Vec::new(),
            failure: None,
        }
    }

    /// A wall that failed once is not tried again.
    fn add(&mut self, counts: bool, sample: impl FnOnce() -> Result<f64>) {
        if self.failure.is_some() {
            return;
        }
        match sample() {
            Ok(value) if counts => self.samples.push(value),
            Ok(_) => {}
            Err(why) => self.failure = Some(format!("{why:#}")),
        }
    }
}

/// `0 1 2`, then `1 2 0`, then `2 0 1`.
fn turned(columns: usize, round: u32) -> impl Iterator<Item = usize> {
    let first = round as usize;
    (0..columns).map(move |step| (first + step) % columns)
}

fn sample(column: &Column, measure: Measure) -> Result<f64> {
    match measure {
        Measure::Outside => outside(&column.command),
        Measure::Printed => printed(&column.command),
    }
}

/// Milliseconds from before the start to after the end.
fn outside(words: &[String]) -> Result<f64> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", words[0]))?;
    let spent = begin.elapsed();
    if !status.success() {
        bail!("`{}` ended with {status}", words.join(" "));
    }
    Ok(spent.as_secs_f64() * 1e3)
}

/// The number that the command prints.
fn printed(words: &[String]) -> Result<f64> {
    let mut command = Command::new(&words[0]);
    let out = command.args(&words[1..]).stdin(Stdio::null()).output()?;
    if !out.status.success() {
        bail!(
            "`{}` ended with {}: {}",
            words.join(" "),
            out.status,
            last_words(&out)
        );
    }
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("`{}` printed {text:?}", words.join(" ")))
}

fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_starts_with_the_next_wall() {
        let orders: Vec<Vec<usize>> = (0..4).map(|round| turned(3, round).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn a_command_that_fails_is_no_sample() {
        assert!(outside(&["false".to_owned()]).is_err());
        assert!(printed(&["echo".to_owned(), "no number".to_owned()]).is_err());
        let number = printed(&["echo".to_owned(), "1.5".to_owned()]).expect("a number");
        assert!((number - 1.5).abs() < f64::EPSILON);
    }
}
