//! `casemate logs`: the audit log for people; with a sandbox's id, that sandbox's lines.
//!
//! The file is read from the oldest of its parts to the newest. With `--follow`, the newest is
//! read on, also when it is rotated: its folder tells of changes.

mod line;
mod source;

use crate::{platform, state};
use anyhow::Context as _;
use casemate_core::error::Error;
use casemate_core::limits::parse_duration;
use clap::Args;
use line::Shown;
use source::Source;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

// The arguments of `casemate logs`.
#[derive(Args)]
pub(crate) struct LogsArgs {
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
    /// Print events as they are, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Only what was denied
    #[arg(long, conflicts_with = "id")]
    denied: bool,
    /// Only what happened within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only of runs with this name
    #[arg(long, value_name = "N", conflicts_with = "id")]
    name: Option<String>,
    /// The audit log [default: casemate/audit.jsonl in XDG_STATE_HOME]
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    audit: Option<PathBuf>,
    /// A sandbox of the platform: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    server: platform::ServerArgs,
}

/// Prints the log.
///
/// # Errors
/// It can't be read.
pub(crate) fn run(args: LogsArgs) -> anyhow::Result<ExitCode> {
    if let Some(id) = args.id {
        let wanted = platform::Wanted {
            id,
            follow: args.follow,
            json: args.json,
            since: args.since,
        };
        return platform::lines(wanted, args.server);
    }
    let usual = || Some(state::folder()?.join("audit.jsonl"));
    let path = args.audit.clone().or_else(usual).ok_or_else(|| {
        Error::rule(
            "find the audit log",
            "neither XDG_STATE_HOME nor HOME is an absolute path",
        )
        .hint("name it with --audit FILE")
    })?;
    let oldest = args.since.map(|since| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        now.saturating_sub(since).as_millis() as u64
    });
    let mut source = Source::open(&path, args.follow)
        .with_context(|| format!("read the audit log: {}", path.display()))?;
    let mut out = io::stdout().lock();
    while let Some(text) = source.next_line(|| out.flush())? {
        let Some(shown) = Shown::of(&text) else {
            continue;
        };
        let meant = (!args.denied || shown.is_denied())
            && oldest.is_none_or(|oldest| shown.time() >= oldest)
            && args
                .name
                .as_deref()
                .is_none_or(|name| shown.name() == Some(name));
        if !meant {
            continue;
        }
        let line = match args.json {
            true => text,
            false => shown.line(),
        };
        match writeln!(out, "{line}") {
            // Whoever read has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            other => other.context("print the audit log")?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
