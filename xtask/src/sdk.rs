//! The published clients against the platform: `tests/sdk`, whole, in the program as it is handed out.

use crate::artifacts::{self, Program};
use crate::command;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::process::Command;

/// The flags of `cargo xtask sdk`.
#[derive(Args)]
pub(crate) struct Options {
    /// What the sandboxes are; virtual machines need root, for debootstrap
    #[arg(long, value_enum, default_value_t = Wall::Process)]
    wall: Wall,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wall {
    /// Processes
    Process,
    /// Virtual machines
    Vm,
}

/// Runs the tests; they say what was wrong, if anything was.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [casemate] = artifacts::built([Program::Casemate])?;
    let test = match options.wall {
        Wall::Process => "sdk",
        Wall::Vm => "sdk_vm",
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--quiet", "--workspace", "--test", test])
        .args(["--", "--nocapture", "--test-threads", "1"])
        .env(artifacts::CASEMATE_BIN, casemate)
        .env("CASEMATE_TEST_SDK_ALL", "1");
    command::run(&mut cargo)
}
