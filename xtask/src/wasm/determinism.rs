//! The test of that name with many more programs, as they come.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::artifacts::workspace;
use crate::command;

/// Names how many programs, and the first of their seeds.
const COUNT: &str = "CASEMATE_DETERMINISM";

/// The flags of `cargo xtask wasm-determinism`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many programs are made and run
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    count: u64,
    /// The seed of the first one; the others follow it. Without it, one that wasn't used before
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..1 << 62))]
    first: Option<u64>,
}

/// Runs the test; it says which seeds failed, and keeps their modules.
pub(crate) fn run(options: &Options) -> Result<()> {
    let first = options.first.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs()) << 20
    });
    let last = first + options.count - 1;
    println!("seeds {first} to {last}");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--package", "casemate-wasm"]);
    cargo
        .current_dir(workspace())
        .args(["--test", "determinism", "--", "random_programs"])
        .env(COUNT, format!("{}:{first}", options.count));
    command::run(&mut cargo)
}
