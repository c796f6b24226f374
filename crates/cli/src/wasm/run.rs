//! `casemate wasm run`.

use super::account::Account;
use super::wall;
use super::wish::{self, Wish, moment};
use crate::printer;
use crate::report_file::ReportFile;
use casemate_core::error::{Error, Result};
use casemate_core::exit::{self, Failure, Outcome};
use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, parse_duration};
use casemate_jail::Plan;
use casemate_jail::stay::Given;
use casemate_wasm::tool::{Moment, Sheet};
use clap::Args;
use rustix::fd::AsRawFd;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

// The flags of `casemate wasm run`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: the program's own; 119 instructions, 120 memory, 124 time limit reached;\n\
    125 Casemate failed; 126 not a module that can be run; 127 not found; 134 trapped."
)]
pub(crate) struct RunArgs {
    /// The module or component, as Wasm or as its text form (WAT)
    #[arg(value_name = "TOOL")]
    pub(super) tool: PathBuf,
    /// Call this export with these arguments, and print what it returns
    #[arg(long, value_names = ["NAME", "ARG"], num_args = 1.., allow_negative_numbers = true)]
    pub(super) invoke: Option<Vec<String>>,
    /// Let the program open files below a folder
    #[arg(long, value_name = "PATH[:ro]")]
    pub(super) dir: Vec<OsString>,
    /// Set a variable, or pass the caller's
    #[arg(long, value_name = "K=V|K")]
    pub(super) env: Vec<OsString>,
    /// Instructions that it may execute
    #[arg(long, value_name = "N")]
    pub(super) fuel: Option<u64>,
    /// Memories and tables together [default: half of the machine's memory]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<ByteSize>,
    /// Wall time, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Say how it ended as JSON, as the last line of standard error or in a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(super) json: Option<Option<PathBuf>>,
    /// Stop its clocks at a time: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) clock: Option<Moment>,
    /// Make its random numbers from this one
    #[arg(long, value_name = "N")]
    pub(super) random_seed: Option<u64>,
    /// Leave a name in a folder unprotected, such as .vscode
    #[arg(long, value_name = "NAME")]
    allow_carrier: Vec<String>,
    /// Run without a layer that this machine lacks
    #[arg(long, value_name = "LAYER")]
    allow_missing: Vec<Layer>,
    /// The program's arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(super) args: Vec<OsString>,
}

/// Runs the program and says how it ended.
pub(super) fn run(args: RunArgs) -> ExitCode {
    let file = match args.json.as_ref().and_then(Option::as_ref) {
        Some(path) => match json_file(path) {
            Ok(file) => Some(file),
            Err(error) => return Account::failed(&error.into()).tell(),
        },
        None => None,
    };
    let started = Instant::now();
    let mut account = attempt(&args).unwrap_or_else(|failure| Account::failed(&failure));
    account.duration_seconds = started.elapsed().as_secs_f64();
    match (args.json, file) {
        (None, _) => account.tell(),
        (Some(_), None) => account.tell_json(),
        (Some(_), Some(file)) => match file.write(&account) {
            Ok(()) => account.tell(),
            Err(error) => Account::failed(&error.into()).tell(),
        },
    }
}

/// Opened before the program runs, which might put something else in its place.
fn json_file(path: &Path) -> Result<ReportFile> {
    if path == Path::new("-") {
        return Err(
            Error::rule("use --json=-", "standard output is the program's")
                .hint("--json alone writes to standard error, --json=FILE to a file"),
        );
    }
    ReportFile::open(path)
}

fn attempt(args: &RunArgs) -> Result<Account, Failure> {
    let cwd = std::env::current_dir().map_err(|error| {
        Error::io("find the current folder", &error).hint("change to a folder that exists")
    })?;
    let Wish { job, grants } = wish::wish(args, &cwd)?;
    let sheet = Sheet::write(&job, open_module(&args.tool)?)
        .map_err(|error| error.on(args.tool.display()))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let program = rustix::fs::open("/proc/self/exe", flags, Mode::empty())
        .map_err(|errno| Error::errno("open this program", errno.raw_os_error()))?;
    let given = Given {
        program,
        kept: sheet.descriptor()?,
    };
    let memory = ByteSize(job.memory);
    let descriptor = given.kept.as_raw_fd();
    let mut spec = wall::specification(grants, memory, args.timeout, descriptor, cwd);
    spec.allow_carriers = args.allow_carrier.iter().cloned().collect();
    spec.allow_missing = args.allow_missing.iter().copied().collect();
    let plan = Plan::new(spec)?;
    let finished = casemate_jail::run_given(&plan, &given)?;
    let stopped = matches!(finished.outcome, Outcome::Stopped { .. });
    // The last one says why it was stopped, which the account does.
    let told = finished.remarks.len().saturating_sub(stopped.into());
    let remarks = finished.remarks.iter().take(told);
    remarks.for_each(|remark| printer::line(remark));
    let (phase, verdict) = sheet.read()?;
    Ok(Account::new(&job, finished.outcome, phase, verdict))
}

fn open_module(path: &Path) -> Result<File, Failure> {
    let refuse = |error: std::io::Error| Failure {
        code: match error.kind() {
            ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::NOT_EXECUTABLE,
        },
        error: Error::io("open the module", &error)
            .on(path.display())
            .hint("give the path of a .wasm or .wat file"),
    };
    let file = File::open(path).map_err(refuse)?;
    match file.metadata() {
        Ok(meta) if meta.is_dir() => Err(refuse(ErrorKind::IsADirectory.into())),
        Ok(_) => Ok(file),
        Err(error) => Err(refuse(error)),
    }
}
