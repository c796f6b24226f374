//! `casemate wasm`: Wasm programs.
//!
//! What is here runs in the caller's process, and never looks into a module: that is for a process
//! behind the wall, whose beginning is [`tool`].
//!
//! - [`run`]: the flags of `casemate wasm run`; [`wish`]: what they ask for
//! - [`wall`]: what the process of a guest is given
//! - [`account`]: how it ended, as text, exit code and JSON
//! - [`canisters`]: programs that stay, and are called; [`argument`] with what, [`answer`] what comes out; [`new`] a folder to begin one with
//! - [`place`]: who has them: this process by [`owned`], or a server

mod account;
mod answer;
mod argument;
mod canisters;
mod carry;
mod new;
mod owned;
mod place;
mod run;
mod tool;
mod wall;
mod wish;

pub(crate) use owned::Owned;
pub(crate) use place::{Kept, PATIENCE, history, own};
pub(crate) use tool::{ToolArgs, run as tool};

use crate::printer;
use casemate_core::exit;
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
    /// Make a folder to begin a canister with
    New(new::NewArgs),
    /// Make a canister of a module: it keeps its memory from call to call
    Install(canisters::InstallArgs),
    /// Call a method of a canister; what it changes is kept
    Call(canisters::CallArgs),
    /// Ask a method of a canister; nothing is changed
    Query(canisters::CallArgs),
    /// Change a canister's code; its stable memory stays
    Upgrade(canisters::InstallArgs),
    /// Make a canister anew of a module; all that it knew is gone
    Reinstall(canisters::InstallArgs),
    /// Let a canister take no more calls, and those under way end
    Stop(canisters::NameArgs),
    /// Let a canister take calls again
    Start(canisters::NameArgs),
    /// Print the last lines of a canister's log
    Logs(canisters::NameArgs),
    /// Let timers that are due go off, and beat each heart once
    Tick(canisters::ListArgs),
    /// List the canisters
    List(canisters::ListArgs),
    /// Say what a canister is
    Status(canisters::NameArgs),
    /// Print what a canister says of its methods
    Candid(canisters::NameArgs),
    /// Write a canister into a file
    Export(carry::ExportArgs),
    /// Make a canister of such a file
    Import(carry::ImportArgs),
    /// Run a canister's kept calls again, and prove that they come to the same
    Replay(carry::ReplayArgs),
    /// Remove a canister, and all that it knows
    Uninstall(canisters::NameArgs),
}

/// Does what was asked for; the exit code is the program's own, or says why there is none.
pub(crate) fn run(args: WasmArgs) -> ExitCode {
    let done = match args.command {
        Command::Run(args) => return run::run(*args),
        Command::New(args) => new::new(&args),
        Command::Install(args) => canisters::install(args),
        Command::Call(args) => canisters::call(args),
        Command::Query(args) => canisters::query(args),
        Command::Upgrade(args) => canisters::upgrade(args),
        Command::Reinstall(args) => canisters::reinstall(args),
        Command::Stop(args) => canisters::stop(args),
        Command::Start(args) => canisters::start(args),
        Command::Logs(args) => canisters::logs(args),
        Command::Tick(args) => canisters::tick(args),
        Command::List(args) => canisters::list(args),
        Command::Status(args) => canisters::status(args),
        Command::Candid(args) => canisters::candid(args),
        Command::Export(args) => carry::export(args),
        Command::Import(args) => carry::import(args),
        Command::Replay(args) => carry::replay(args),
        Command::Uninstall(args) => canisters::uninstall(args),
    };
    done.unwrap_or_else(|error| {
        printer::error(&format!("{error:#}"));
        ExitCode::from(exit::FAILED)
    })
}
