//! `casemate wasm install | call | query | upgrade | …`: canisters, from the command line. A command
//! asks the server that has the folder, or takes it, does its work and leaves no process behind.

use super::answer::OutputArgs;
use super::argument::{CallArgument, InitArgument};
use super::place::Common;
use crate::printer;
use anyhow::{Context, bail};
use bytes::Bytes;
use casemate_core::exit;
use casemate_core::limits::parse_duration;
use casemate_wasm::candid::Of;
use casemate_wasm_http::{Ask, Fault, Installation, Kind, Mode, Outcome, Owner};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Lines of its log that a call which failed is told with.
const LAST_LINES: usize = 5;

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
    /// Wait so long for the answer; what still runs then is ended, and changes nothing
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
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
    pub(super) name: String,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn install(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, Mode::Install)
}

/// Changes a canister's code; its stable memory stays.
pub(super) fn upgrade(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, Mode::Upgrade)
}

/// Makes a canister anew.
pub(super) fn reinstall(args: InstallArgs) -> anyhow::Result<ExitCode> {
    bring(args, Mode::Reinstall)
}

fn bring(args: InstallArgs, mode: Mode) -> anyhow::Result<ExitCode> {
    let module = std::fs::read(&args.module)
        .with_context(|| format!("read the module {}", args.module.display()))?;
    let module = Bytes::from(module);
    let argument = args.argument.read()?;
    let owner = args.common.owner()?;
    let interface = owner.inspect(module.clone())?;
    let how = Installation {
        mode,
        argument: argument.bytes(interface.as_deref(), Of::Init)?,
        module,
        caller: None,
    };
    let outcome = owner.install(&args.name, how)?;
    if let Err(code) = said(&*owner, &args.name, &outcome) {
        return Ok(code);
    }
    let canister = outcome.canister.unwrap_or_default();
    printer::say(&format!("{} {canister}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn call(args: CallArgs) -> anyhow::Result<ExitCode> {
    let (owner, code) = ask(args, |owner, name, ask| owner.call(name, ask))?;
    owner.settle();
    Ok(code)
}

pub(super) fn query(args: CallArgs) -> anyhow::Result<ExitCode> {
    Ok(ask(args, |owner, name, ask| owner.query(name, ask))?.1)
}

fn ask(
    args: CallArgs,
    ask: impl FnOnce(&dyn Owner, &str, Ask) -> Result<Outcome, Fault>,
) -> anyhow::Result<(Box<dyn Owner>, ExitCode)> {
    let argument = args.argument.read()?;
    let owner = args.common.owner()?;
    let interface = owner.interface(&args.name, Some(&args.method))?;
    let (interface, of) = (interface.as_deref(), Of::Method(&args.method));
    let asked = Ask {
        argument: argument.bytes(interface, of)?,
        method: args.method.clone(),
        deadline: args.timeout.map(|time| Instant::now() + time),
        ..Ask::default()
    };
    let outcome = match ask(&*owner, &args.name, asked) {
        Err(late) if late.kind == Kind::Late => {
            printer::error(&late.to_string());
            return Ok((owner, ExitCode::from(exit::TIME)));
        }
        outcome => outcome?,
    };
    if outcome.unwritten {
        args.output.warn_unwritten();
    }
    let code = match said(&*owner, &args.name, &outcome) {
        Ok(Some(reply)) => args.output.print(interface, of, reply)?,
        Ok(None) => ExitCode::SUCCESS,
        Err(code) => code,
    };
    Ok((owner, code))
}

/// Prints what a canister says of its methods.
pub(super) fn candid(args: NameArgs) -> anyhow::Result<ExitCode> {
    match args.common.owner()?.interface(&args.name, None)? {
        Some(text) => printer::say(&format!("{}\n", text.trim_end()))?,
        None => bail!(
            "print the interface of {0:?}: its module doesn't say it\nhint: `casemate wasm status {0}` lists its methods; a custom section `icp:public candid:service` would say what they take",
            args.name
        ),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn stop(args: NameArgs) -> anyhow::Result<ExitCode> {
    let owner = args.common.owner()?;
    owner.stop(&args.name)?;
    owner.settle();
    let state = owner.status(&args.name)?.state;
    printer::say(&format!("{} {state}\n", args.name))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn start(args: NameArgs) -> anyhow::Result<ExitCode> {
    args.common.owner()?.start(&args.name)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn logs(args: NameArgs) -> anyhow::Result<ExitCode> {
    for line in args.common.owner()?.logs(&args.name)? {
        let seconds = Duration::from_nanos(line.time).as_secs_f64();
        printer::say(&format!("{seconds:.3} {}\n", line.text.escape_debug()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a server does all the time, once.
pub(super) fn tick(args: ListArgs) -> anyhow::Result<ExitCode> {
    let owner = args.common.owner()?;
    owner.tick()?;
    owner.settle();
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    for name in args.common.owner()?.names()? {
        printer::say(&format!("{name}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(args: NameArgs) -> anyhow::Result<ExitCode> {
    let status = args.common.owner()?.status(&args.name)?;
    let methods = status.methods.iter();
    let methods: Vec<String> = methods
        .map(|method| format!("{} ({})", method.name, method.kind))
        .collect();
    let timer = match (status.timer, status.is_overdue) {
        (None, _) => "none".to_owned(),
        (Some(_), true) => "overdue: `casemate wasm tick` or `casemate serve`".to_owned(),
        (Some(time), false) => format!("{} s since 1970", time / 1_000_000_000),
    };
    let worker = status.worker.map(|worker| match worker.resident {
        Some(bytes) => format!("process {}, {} KiB", worker.pid, bytes >> 10),
        None => format!("process {}", worker.pid),
    });
    let lines = [
        ("canister", status.canister),
        ("status", status.state),
        ("module", status.module),
        ("version", status.version.to_string()),
        ("cycles", status.cycles),
        ("heap", format!("{} KiB", status.heap >> 10)),
        ("stable memory", format!("{} KiB", status.stable >> 10)),
        (
            "calls",
            format!("{} open, of {} others", status.calls_out, status.calls_in),
        ),
        ("instructions", status.instructions.to_string()),
        ("dirtied", format!("{} pages", status.dirty_pages)),
        ("worker", worker.unwrap_or_else(|| "none".to_owned())),
        ("timer", timer),
        ("methods", methods.join(", ")),
    ];
    for (what, value) in lines {
        printer::say(&format!("{what:<14} {value}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn uninstall(args: NameArgs) -> anyhow::Result<ExitCode> {
    args.common.owner()?.remove(&args.name)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what a canister printed, and how a call failed. The reply, if there is one, is left.
fn said<'a>(
    owner: &dyn Owner,
    name: &str,
    outcome: &'a Outcome,
) -> Result<Option<&'a [u8]>, ExitCode> {
    for line in &outcome.logs {
        printer::line(&format!("log: {}", line.text.escape_debug()));
    }
    match &outcome.fault {
        None => Ok(outcome.reply.as_deref()),
        Some(fault) if fault.kind == Kind::Rejected => {
            printer::error(&format!("rejected: {}", fault.message.escape_debug()));
            Err(ExitCode::FAILURE)
        }
        Some(fault) => {
            let code = fault
                .reject_code
                .map(|code| format!(" (reject code {code})"));
            printer::error(&format!("{}{}", fault.message, code.unwrap_or_default()));
            let logs = owner.logs(name).unwrap_or_default();
            let before = logs.len().saturating_sub(outcome.logs.len());
            for line in logs[..before].iter().rev().take(LAST_LINES).rev() {
                printer::line(&format!("log before: {}", line.text.escape_debug()));
            }
            if let Some(hint) = &fault.hint {
                printer::line(&format!("hint: {hint}"));
            }
            Err(ExitCode::from(match fault.kind {
                Kind::Late => exit::TIME,
                _ => exit::TRAP,
            }))
        }
    }
}
