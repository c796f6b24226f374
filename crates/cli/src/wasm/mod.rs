//! `casemate wasm`: Wasm programs.
//!
//! What is here runs in the caller's process, and never looks into a module: that is for a process
//! behind the wall, whose beginning is [`tool`].
//!
//! - [`run`]: the flags of `casemate wasm run`; [`wish`]: what they ask for
//! - [`wall`]: what the process of a guest is given
//! - [`account`]: how it ended, as text, exit code and JSON

mod account;
mod run;
mod tool;
mod wall;
mod wish;

pub(crate) use tool::{ToolArgs, run as tool};

use clap::{Args, Subcommand};
use std::process::ExitCode;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct WasmArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program once: a WASI command, or an export of any module
    Run(Box<run::RunArgs>),
}

/// Does what was asked for; the exit code is the program's own, or says why there is none.
pub(crate) fn run(args: WasmArgs) -> ExitCode {
    match args.command {
        Command::Run(args) => run::run(*args),
    }
}
