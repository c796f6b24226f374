//! Sandboxes of the platform that come and go: the test of that name, many more of them, in the
//! program as it is handed out.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::artifacts::{self, Program};
use crate::command;

/// The flags of `cargo xtask cycles`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many sandboxes are made, used and ended, as root and as an unprivileged user each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// Runs the test; it says what stayed, if anything did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [casemate] = artifacts::built([Program::Casemate])?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--workspace", "--test", "cycles"]);
    cargo
        .args(["--", "--nocapture", "--test-threads=1"])
        .env(artifacts::CASEMATE_BIN, casemate)
        .env("CASEMATE_CYCLES", options.count.to_string());
    command::run(&mut cargo)
}
