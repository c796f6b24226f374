//! `casemate wasm install | call | query | upgrade | …`: canisters, from the command line. A command takes the folder, does its work and leaves no process behind.

use super::answer::{OutputArgs, said};
use super::argument::{CallArgument, InitArgument};
use crate::{printer, state};
use anyhow::{Context, bail};
use casemate_wasm::call::Principal;
use casemate_wasm::candid::Of;
use casemate_wasm::canisters::{Ask, CanisterError, Canisters, Options, Outcome};
use casemate_wasm::executor::{Executor, InProcess, Sandboxed};
use casemate_wasm::module::Limits;
use casemate_wasm::process::Spec;
use casemate_wasm::store::Durability;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a worker may take for one call: as many instructions as a call may have, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long what a call left under way may go on after its answer; the rest goes on the next time.
const SETTLE: Duration = Duration::from_secs(10);

/// Where guests run.
#[derive(Clone, Copy, ValueEnum)]
enum Where {
    /// Each in a process of its own, behind the wall
    Sandboxed,
    /// In this process: only for modules that you trust
    InProcess,
}

/// When a call counts as done.
#[derive(Clone, Copy, ValueEnum)]
enum Kept {
    /// When it is written: it survives the end of every process
    Process,
    /// When it is on the disk: it survives a power cut
    Power,
    /// When it has run: it is lost if anything dies before the next checkpoint
    Checkpoint,
}

// What all of these commands take; a doc comment would take the place of what is said of each.
#[derive(Args)]
pub(super) struct Common {
    /// The folder of the canisters; by default, one of this user's state
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where guests run
    #[arg(long, value_enum, default_value = "sandboxed", value_name = "WHERE")]
    executor: Where,
    /// When a call counts as done
    #[arg(long, value_enum, default_value = "process", value_name = "WHEN")]
    durability: Kept,
}

// The flags of `install`.
#[derive(Args)]
pub(super) struct InstallArgs {
    /// The module: .wasm, .wasm.gz or .wat
    module: PathBuf,
    /// What the canister is called
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    argument: InitArgument,
    #[command(flatten)]
    common: Common,
}

// The flags of `call` and `query`.
#[derive(Args)]
pub(super) struct CallArgs {
    /// The canister
    name: String,
    /// Its method
    method: String,
    #[command(flatten)]
    argument: CallArgument,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    common: Common,
}

// The flags of `list`.
#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

// The flags of `status` and `uninstall`.
#[derive(Args)]
pub(super) struct NameArgs {
    /// The canister
    name: String,
    #[command(flatten)]
    common: Common,
}

impl Common {
    pub(super) fn open(self) -> anyhow::Result<Canisters> {
        let folder = self.data.or_else(|| Some(state::folder()?.join("wasm")));
        let Some(folder) = folder else {
            bail!(
                "find the folder of the canisters: neither XDG_STATE_HOME nor HOME is set\nhint: --data DIR"
            );
        };
        let executor: Arc<dyn Executor> = match self.executor {
            Where::InProcess => Arc::new(InProcess::new(Limits::default())?),
            Where::Sandboxed => {
                let spec = Spec {
                    pool: 1,
                    ..Spec::default()
                };
                Arc::new(Sandboxed::new(spec, PATIENCE))
            }
        };
        let durability = match self.durability {
            Kept::Process => Durability::Process,
            Kept::Power => Durability::Power,
            Kept::Checkpoint => Durability::Checkpoint,
        };
        let options = Options {
            durability,
            is_alone: true,
            ..Options::default()
        };
        Ok(Canisters::open(&folder, executor, options)?)
    }
}

pub(super) fn install(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, |canisters, name, module, argument| {
        canisters.install(name, module, argument, Principal::ANONYMOUS)
    })
}

/// Changes a canister's code; its stable memory stays.
pub(super) fn upgrade(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, |canisters, name, module, argument| {
        canisters.upgrade(name, module, argument, Principal::ANONYMOUS)
    })
}

/// Makes a canister anew.
pub(super) fn reinstall(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, |canisters, name, module, argument| {
        canisters.reinstall(name, module, argument, Principal::ANONYMOUS)
    })
}

fn bring(
    args: InstallArgs,
    bring: impl FnOnce(&Canisters, &str, &[u8], Vec<u8>) -> Result<Outcome, CanisterError>,
) -> anyhow::Result<ExitCode> {
    let module = std::fs::read(&args.module)
        .with_context(|| format!("read the module {}", args.module.display()))?;
    let argument = args.argument.read()?;
    let canisters = args.common.open()?;
    let code = canisters.inspect(&module)?;
    let argument = argument.bytes(code.profile.candid(), Of::Init)?;
    let outcome = bring(&canisters, &args.name, &module, argument)?;
    if let Err(code) = said(&canisters, &args.name, &outcome) {
        return Ok(code);
    }
    let canister = canisters.report(&args.name)?.canister;
    printer::say(&format!("{} {canister}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn call(args: CallArgs) -> anyhow::Result<ExitCode> {
    let (canisters, code) = ask(args, Canisters::call)?;
    canisters.settle(SETTLE);
    Ok(code)
}

pub(super) fn query(args: CallArgs) -> anyhow::Result<ExitCode> {
    Ok(ask(args, Canisters::query)?.1)
}

fn ask(
    args: CallArgs,
    ask: impl FnOnce(&Canisters, &str, Ask) -> Result<Outcome, CanisterError>,
) -> anyhow::Result<(Canisters, ExitCode)> {
    let argument = args.argument.read()?;
    let canisters = args.common.open()?;
    let code = canisters.code(&args.name)?;
    let (interface, of) = (code.profile.candid(), Of::Method(&args.method));
    let argument = argument.bytes(interface, of)?;
    let outcome = ask(&canisters, &args.name, Ask::new(&args.method, argument))?;
    let code = match said(&canisters, &args.name, &outcome) {
        Ok(Some(reply)) => args.output.print(interface, of, reply)?,
        Ok(None) => ExitCode::SUCCESS,
        Err(code) => code,
    };
    Ok((canisters, code))
}

/// Prints what a canister says of its methods.
pub(super) fn candid(args: NameArgs) -> anyhow::Result<ExitCode> {
    let code = args.common.open()?.code(&args.name)?;
    match code.profile.candid() {
        Some(text) => printer::say(&format!("{}\n", text.trim_end()))?,
        None => bail!(
            "print the interface of {0:?}: its module doesn't say it\nhint: `casemate wasm status {0}` lists its methods; a custom section `icp:public candid:service` would say what they take",
            args.name
        ),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn stop(args: NameArgs) -> anyhow::Result<ExitCode> {
    let canisters = args.common.open()?;
    canisters.stop(&args.name)?;
    canisters.settle(SETTLE);
    let status = canisters.report(&args.name)?.status;
    printer::say(&format!("{} {status}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn start(args: NameArgs) -> anyhow::Result<ExitCode> {
    args.common.open()?.start(&args.name)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logs(args: NameArgs) -> anyhow::Result<ExitCode> {
    for log in args.common.open()?.logs(&args.name)? {
        let text = String::from_utf8_lossy(&log.text);
        let seconds = Duration::from_nanos(log.time).as_secs_f64();
        printer::say(&format!("{seconds:.3} {}\n", text.escape_debug()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a server does all the time, once.
pub(super) fn tick(args: ListArgs) -> anyhow::Result<ExitCode> {
    args.common.open()?.tick(SETTLE)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    for name in args.common.open()?.names()? {
        printer::say(&format!("{name}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(args: NameArgs) -> anyhow::Result<ExitCode> {
    let report = args.common.open()?.report(&args.name)?;
    let methods = report.methods.iter();
    let methods: Vec<String> = methods
        .map(|(name, kind)| format!("{name} ({kind})"))
        .collect();
    let timer = match (report.timer, report.is_overdue) {
        (0, _) => "none".to_owned(),
        (_, true) => "overdue: `casemate wasm tick` or `casemate serve`".to_owned(),
        (time, false) => format!("{} s since 1970", time / 1_000_000_000),
    };
    let lines = [
        ("canister", report.canister),
        ("status", report.status.to_owned()),
        ("module", report.module),
        ("version", report.version.to_string()),
        ("cycles", report.cycles),
        ("heap", format!("{} KiB", report.heap >> 10)),
        ("stable memory", format!("{} KiB", report.stable >> 10)),
        (
            "calls",
            format!("{} open, of {} others", report.calls, report.contexts),
        ),
        ("timer", timer),
        ("methods", methods.join(", ")),
    ];
    for (what, value) in lines {
        printer::say(&format!("{what:<14} {value}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn uninstall(args: NameArgs) -> anyhow::Result<ExitCode> {
    args.common.open()?.remove(&args.name)?;
    Ok(ExitCode::SUCCESS)
}
