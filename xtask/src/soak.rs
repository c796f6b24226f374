//! Many connections for many minutes: the test of that name, in the program as it is handed out.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::artifacts::{self, Program};
use crate::command;

/// The flags of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct Options {
    /// How long; from about five minutes on it is said whether the memory grows
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Connections a second, all programs together
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// As root, not as an ordinary user
    #[arg(long)]
    root: bool,
}

/// Runs the test; it says what was wrong, if anything was.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [casemate] = artifacts::built([Program::Casemate])?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--workspace"]);
    let who = if options.root { "as_root" } else { "as_user" };
    cargo.args(["--test", "soak", who, "--", "--nocapture"]);
    cargo
        .env(artifacts::CASEMATE_BIN, casemate)
        .env("CASEMATE_SOAK_SECONDS", (options.minutes * 60).to_string())
        .env("CASEMATE_SOAK_RATE", options.rate.to_string());
    command::run(&mut cargo)
}
