//! `bench egress`: what the way out costs.
//!
//! First what a connection costs ([`crossing`]): made without a sandbox, given to the program
//! itself, and relayed; among few and many processes; and when the program is met for the first
//! time. Its servers are on this host's own address, since loopback is closed to sandboxes.
//!
//! Then what it costs to decide: the compiled policy beside an interpreter that runs the same
//! rules in Rego, for policies that grow. Both answer the same questions in turn, so that a busy
//! machine is equally busy for both; and the questions go round all entries, so that a long policy
//! isn't answered out of the cache for its first line.

mod crossing;
mod decisions;
mod inside;
mod phases;
mod policies;
mod requests;
mod stage;

pub(crate) use inside::{Inside, inside};

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::decisions::Case;
use super::machine::Machine;
use crate::artifacts;
use crate::table::Table;

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A few rounds only, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Measure this part only; may be given several times
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Where the JSON goes [default: bench/egress.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Decisions,
    Latency,
    Bulk,
    Cold,
    Phases,
    Newcomers,
    Many,
    Inspected,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// A whole run.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    /// A quick run shows that everything works; its times mean little.
    quick: bool,
    decisions: Vec<Case>,
    crossings: Vec<crossing::Row>,
    /// Why there are no crossings.
    skipped: Option<String>,
}

/// Measures everything and prints one table.
pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) && !options.quick {
        return optimised(options);
    }
    let machine = Machine::here();
    let rounds = if options.quick { 3 } else { 41 };
    let decisions = match options.wants(Part::Decisions) {
        true => decisions::measure(rounds)?,
        false => Vec::new(),
    };
    let (crossings, skipped) = match crossing::measure(options) {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    let mut report = Report {
        machine,
        quick: options.quick,
        decisions,
        crossings,
        skipped,
    };
    report.machine.finish();
    let file = match &options.json {
        Some(file) => file.clone(),
        None => artifacts::folder("bench")?.join("egress.json"),
    };
    report.save(&file)?;
    println!("{report}\nwritten to {}", file.display());
    Ok(())
}

/// Once more by a program that is built as the product is: what is measured is inside of this one.
fn optimised(options: &Options) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "xtask",
        "--",
        "bench",
        "egress",
    ]);
    if let Some(file) = &options.json {
        cargo.arg("--json").arg(file);
    }
    for part in options
        .only
        .iter()
        .filter_map(clap::ValueEnum::to_possible_value)
    {
        cargo.args(["--only", part.get_name()]);
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the optimised copy of this program failed: {status}");
    }
    Ok(())
}

impl Report {
    fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let (date, kernel, processor) = (&machine.date, &machine.kernel, &machine.processor);
        writeln!(
            out,
            "{date}, Linux {kernel}, {} × {processor}",
            machine.cpus
        )?;
        writeln!(out, "load {} → {}", machine.load_before, machine.load_after)?;
        let mut table = Table::new(["connections", "unit", "median [min p90]"]);
        self.crossings.iter().for_each(|row| table.row(row.cells()));
        writeln!(out, "\n{table}")?;
        if let Some(why) = &self.skipped {
            writeln!(out, "connections were not measured: {why}\n")?;
        }
        writeln!(out, "time of one decision in µs: median [min p90]\n")?;
        let mut table = Table::new(["policy", "question", "compiled", "Rego", "Rego / compiled"]);
        self.decisions.iter().for_each(|case| table.row(case.row()));
        write!(out, "{table}")
    }
}
