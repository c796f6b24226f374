//! Canisters in all languages, those included whose compilers are too large for `cargo test`.
//!
//! Rust has no target for Wasm where only the toolchain of this machine is installed. The
//! distribution has a newer compiler with the sources of its library, which is enough to build both.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::artifacts::{self, Program};
use crate::{command, packages};

/// A compiler, its library for this machine, and the library's sources.
const COMPILER: [&str; 5] = [
    "rustc-web",
    "libstd-rust-web-1.96",
    "libstd-rust-web-dev",
    "rust-web-src",
    "libllvm22",
];

/// The flags of `cargo xtask wasm-guests`.
#[derive(Args)]
pub(crate) struct Options {
    /// Without Rust, whose library takes minutes to build
    #[arg(long)]
    quick: bool,
}

/// Runs the tests of the program as it is handed out.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [casemate] = artifacts::built([Program::Casemate])?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--workspace", "--test", "wasm_guests"]);
    cargo
        .args(["--", "--nocapture", "--test-threads=1"])
        .env(artifacts::CASEMATE_BIN, casemate);
    if !options.quick {
        let folder = artifacts::folder("wasm-guests")?;
        packages::installed("wasm-ld", "lld")?;
        let rust = packages::unpacked_together("rust", &COMPILER, &folder)?;
        cargo.env("CASEMATE_WASM_RUST", rust);
    }
    command::run(&mut cargo)
}
