//! `bench wasm`: what the Wasm wall costs, beside guests in one process and beside raw wasmtime.
//!
//! The measuring program is an example of `casemate-wasm`: it is controller and worker in one, and
//! with it in here, each chore would wait until a Wasm runtime is built. It prints the table.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{artifacts, command};

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Small sizes and a few rounds only, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Measure this only: heap, empty, stable, cold, density, storm; or, as in heap/wasm64/query,
    /// rows of one that have these words; may be given several times
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Where the JSON goes [default: bench/wasm.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Pairs of each case [default: 15]
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    /// Idle workers at one time [default: 200]
    #[arg(long, value_name = "N")]
    idle: Option<usize>,
    /// Tell processor time where nothing is waited for (heap, stable): for a machine that is busy
    #[arg(long)]
    processor_time: bool,
    /// A canister as a Motoko compiler makes it, with an update `inc`; without it something of the
    /// usual size takes its place
    #[arg(long, value_name = "FILE")]
    motoko: Option<PathBuf>,
}

/// Builds the program and lets it measure.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = artifacts::example("casemate-wasm", "bench")?;
    let json = match &options.json {
        Some(file) => std::path::absolute(file).context("there is no working folder")?,
        None => artifacts::folder("bench")?.join("wasm.json"),
    };
    let mut bench = Command::new(program);
    bench.arg("--json").arg(&json);
    bench.args(options.quick.then_some("--quick"));
    bench.args(options.processor_time.then_some("--processor-time"));
    for case in &options.only {
        bench.args(["--only", case]);
    }
    for (flag, number) in [("--pairs", options.pairs), ("--idle", options.idle)] {
        if let Some(number) = number {
            bench.args([flag, &number.to_string()]);
        }
    }
    if let Some(file) = &options.motoko {
        bench.arg("--motoko").arg(file);
    }
    command::run(&mut bench)?;
    println!("written to {}", json.display());
    Ok(())
}
