//! `casemate`: runs code that you don't trust behind a wall.
//!
//! This file is parse → run → exit code. Each command is a module: it turns its arguments into
//! a call of a library crate and the result into text.

mod agent;
mod credentials;
mod doctor;
mod egress;
mod egress_alone;
mod identity;
mod keep;
mod logs;
mod observe;
mod platform;
mod policy;
mod printer;
mod reload;
mod report_file;
mod run;
mod serve;
mod state;
mod unit;
mod vm;
mod wasm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs code that you don't trust behind a wall: rootless, without a daemon, in milliseconds.
#[derive(Parser)]
#[command(name = "casemate", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// Only the command that is used is built, and that last: a doc comment on its own arguments would
// take the place of what is said of it here.
#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run a program behind the wall
    Run(Box<run::RunArgs>),
    /// Say what this machine can enforce
    Doctor(doctor::DoctorArgs),
    /// Say which programs are trusted, and settle a change
    Identity(identity::IdentityArgs),
    /// Check, explain, test, format, compare and learn policies
    Policy(policy::PolicyArgs),
    /// Print what connections were made and refused, or what happened to a sandbox
    Logs(logs::LogsArgs),
    /// Serve the proxy alone, for containers and virtual machines
    Egress(Box<egress_alone::EgressArgs>),
    /// Run a Wasm program in a process of its own
    Wasm(wasm::WasmArgs),
    /// Prepare what virtual machines are made from
    Vm(vm::VmArgs),
    /// Serve the platform: what E2B's clients talk to
    Serve(Box<serve::ServeArgs>),
    /// Make a sandbox on the platform
    Create(Box<platform::CreateArgs>),
    /// List the sandboxes
    Ps(platform::PsArgs),
    /// Run a command in a sandbox
    Exec(Box<platform::ExecArgs>),
    /// Open a shell in a sandbox
    Shell(platform::ShellArgs),
    /// Copy files to a sandbox and back
    Cp(platform::CpArgs),
    /// Bring a port of a sandbox to this machine
    Port(platform::PortArgs),
    /// Pause sandboxes: nothing runs in them any more
    Pause(platform::PauseArgs),
    /// Let paused sandboxes go on
    Resume(platform::ResumeArgs),
    /// Make others that go on from where a sandbox stands
    Fork(platform::ForkArgs),
    /// Write sandboxes as they stand; list and remove what was written
    Snapshot(platform::SnapshotArgs),
    /// End sandboxes
    Kill(platform::KillArgs),
    /// Print all that is known of a sandbox
    Inspect(platform::InspectArgs),
    /// Make, list and revoke API keys
    Key(platform::KeyArgs),
    #[command(hide = true)]
    Agent(agent::AgentArgs),
    #[command(hide = true)]
    Keep(keep::KeepArgs),
    #[command(hide = true)]
    Vmm(vm::VmmArgs),
    #[command(hide = true)]
    Pages(vm::PagesArgs),
    #[command(hide = true)]
    WasmTool(wasm::ToolArgs),
}

fn main() -> ExitCode {
    // The processes of the Wasm wall are this program, too.
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    let code = match std::env::args_os().nth(1) {
        // Nobody says that but a machine's first program.
        Some(first) if first == agent::GUEST => agent::guest(),
        _ => command(),
    };
    // What the entry point began for a run that never came.
    drop(casemate_jail::HeadStart::take());
    code
}

fn command() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, but not to the caller.
            let failed = error.use_stderr();
            let _ = error.print();
            return if failed {
                ExitCode::from(casemate_core::exit::FAILED)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let result = match arguments.command {
        Command::Run(args) => return run::run(*args),
        Command::Doctor(args) => doctor::run(args),
        Command::Identity(args) => identity::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Egress(args) => egress_alone::run(*args),
        Command::Wasm(args) => return wasm::run(args),
        Command::Serve(args) => serve::run(*args),
        Command::Create(args) => platform::create(*args),
        Command::Ps(args) => platform::ps(args),
        Command::Exec(args) => platform::exec(*args),
        Command::Shell(args) => platform::shell(args),
        Command::Cp(args) => platform::cp(args),
        Command::Port(args) => platform::port(args),
        Command::Pause(args) => platform::pause(args),
        Command::Resume(args) => platform::resume(args),
        Command::Fork(args) => platform::fork(args),
        Command::Snapshot(args) => platform::snapshot(args),
        Command::Kill(args) => platform::kill(args),
        Command::Inspect(args) => platform::inspect(args),
        Command::Key(args) => platform::key(args),
        Command::Agent(args) => agent::run(args),
        Command::Keep(args) => keep::run(args),
        Command::Vm(args) => vm::run(args),
        Command::Pages(args) => vm::pages(args),
        Command::Vmm(args) => vm::vmm(args),
        Command::WasmTool(args) => wasm::tool(args),
    };
    result.unwrap_or_else(|error| {
        printer::error(&format!("{error:#}"));
        ExitCode::from(casemate_core::exit::FAILED)
    })
}
