//! Chores that are too long, or need too much of the machine, for `cargo test`:
//! what the wall costs (`bench run`), what the way out costs (`bench egress`) and keeps
//! (`soak`), whether the published clients work (`sdk`), what a platform's sandbox costs (`bench platform`) and leaves (`cycles`), what a
//! canister's worker costs (`bench wasm`), whether the wall stands on an older kernel (`kernels`),
//! how canisters of all languages fare behind the Wasm wall (`wasm-guests`), whether each promise of it
//! has a test (`wasm-rows`) and its two executors behave alike (`wasm-determinism`).
//!
//! The program is static, so the same file also works as the load inside a wall
//! (`workload`), as the process that times the others (`bench-rounds`) and as the first
//! process of a guest (`guest-init`). These three are hidden: only this program calls them.

mod artifacts;
mod bench;
mod chaos;
mod command;
mod cycles;
mod kernels;
mod packages;
mod sdk;
mod soak;
mod table;
mod wasm;
mod wasm_guests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Long-running chores"
)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Measure what the wall costs, beside its peers
    Bench {
        #[command(subcommand)]
        suite: Suite,
    },
    /// Kill supervisors at random moments and look for what they leave behind
    Chaos(chaos::Options),
    /// Make, use and end many sandboxes of the platform, and look for what stays
    Cycles(cycles::Options),
    /// Boot an older kernel in an emulator and try the wall there
    Kernels(kernels::Options),
    /// Run the published clients' tests, unchanged, against the platform
    Sdk(sdk::Options),
    /// Let programs connect for minutes, kill some of them, and look for what grows
    Soak(soak::Options),
    /// Run programs that nobody wrote in both Wasm executors, and compare all that can be seen
    WasmDeterminism(wasm::DeterminismOptions),
    /// Print what the Wasm wall promises, with the test of each; one without a test is a failure
    WasmRows(wasm::RowsOptions),
    /// Build canisters in each language, and run them
    WasmGuests(wasm_guests::Options),
    #[command(hide = true)]
    Workload(bench::WorkloadOptions),
    #[command(hide = true)]
    BenchRounds(bench::RoundsOptions),
    #[command(hide = true)]
    EgressInside(bench::egress::Inside),
    #[command(hide = true)]
    BenchPeer(bench::platform::Peer),
    #[command(hide = true)]
    GuestInit,
}

#[derive(Subcommand)]
enum Suite {
    /// Start-up time, cost of the calls inside, memory of the supervisor
    Run(bench::Options),
    /// Cost of connections that a policy allows, and of deciding about them, beside the same in Rego
    Egress(bench::egress::Options),
    /// Sandboxes of the platform, through its HTTP interface
    Platform(bench::platform::Options),
    /// Virtual machines: made, paused, written, forked; and memory beside the monitor's
    Vm(bench::vm::Options),
    /// Canisters in workers behind the wall, beside the same in one process
    Wasm(bench::wasm::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Bench {
            suite: Suite::Run(options),
        } => bench::run(&options),
        Chore::Bench {
            suite: Suite::Egress(options),
        } => bench::egress::run(&options),
        Chore::Bench {
            suite: Suite::Platform(options),
        } => bench::platform::run(&options),
        Chore::Bench {
            suite: Suite::Vm(options),
        } => bench::vm::run(&options),
        Chore::Bench {
            suite: Suite::Wasm(options),
        } => bench::wasm::run(&options),
        Chore::Chaos(options) => chaos::run(&options),
        Chore::Cycles(options) => cycles::run(&options),
        Chore::Kernels(options) => kernels::run(&options),
        Chore::WasmGuests(options) => wasm_guests::run(&options),
        Chore::Sdk(options) => sdk::run(&options),
        Chore::Soak(options) => soak::run(&options),
        Chore::WasmDeterminism(options) => wasm::determinism(&options),
        Chore::WasmRows(options) => wasm::rows(&options),
        Chore::Workload(options) => bench::workload(&options),
        Chore::BenchRounds(options) => bench::rounds(&options),
        Chore::EgressInside(wanted) => bench::egress::inside(&wanted),
        Chore::BenchPeer(wanted) => bench::platform::peer(&wanted),
        Chore::GuestInit => kernels::guest_init(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
