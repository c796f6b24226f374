//! Kills supervisors at random moments, many times: the test of that name with more rounds, and
//! with nothing else going on, so that the machine's shared folders can be compared as a whole.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::command;

/// The flags of `cargo xtask chaos`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many supervisors are killed, as root and as an unprivileged user each
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Other programs make mounts and temporary files meanwhile: look at Casemate's own only
    #[arg(long)]
    busy: bool,
}

/// Runs the test; it says what was left behind, if anything was.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "test",
        "--quiet",
        "--workspace",
        "--test",
        "chaos",
        "--",
        "--nocapture",
        "--test-threads=1",
    ]);
    cargo.env("CASEMATE_CHAOS_ROUNDS", options.rounds.to_string());
    if !options.busy {
        cargo.env("CASEMATE_CHAOS_ALONE", "1");
    }
    command::run(&mut cargo)
}
