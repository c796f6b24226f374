//! `casemate policy`: what to do with a policy before it's applied.
//!
//! ```text
//! check    what is wrong with it, or probably not meant      fmt     its text as it's best read
//! explain  what becomes of a connection or request, and why  diff    what a change allows or denies
//! test     the same for many, against what is expected
//! learn    the least policy for what a program does
//! ```
//!
//! Each command is a file. `apply` is what `casemate run` does with a policy.

mod apply;
mod check;
mod diff;
mod explain;
mod fmt;
mod learn;
mod place;
mod sarif;
mod settings;
mod test;

pub(crate) use learn::net;

use anyhow::anyhow;
use casemate_policy::{Document, ReadOptions};
use clap::{Args, Subcommand};
use std::path::Path;
use std::process::ExitCode;

pub(crate) use apply::apply;

/// The answer is no: something is wrong with the file, a case fails, or two policies differ.
const NO: u8 = 1;

/// A run names this many warnings of its policy.
const MAX_NOTES: usize = 10;

// The arguments of `casemate policy`.
#[derive(Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Say what is wrong with policies, and what is probably not meant
    Check(check::CheckArgs),
    /// Say what a policy does with a connection or request, and why
    Explain(explain::ExplainArgs),
    /// Try a policy with a file of cases
    Test(test::TestArgs),
    /// Give policies the layout in which they are best read
    Fmt(fmt::FmtArgs),
    /// Say what becomes allowed and what denied by a change
    Diff(diff::DiffArgs),
    /// Run a program with the network open, and write the least policy for what it did
    Learn(Box<learn::LearnArgs>),
}

// How strictly a policy is read.
#[derive(Args)]
pub(crate) struct Reading {
    /// Accept what OpenShell accepts, with a warning
    #[arg(long)]
    openshell_lenient: bool,
}

impl Reading {
    /// The same for the reader.
    pub(crate) fn options(&self) -> ReadOptions {
        ReadOptions {
            openshell_lenient: self.openshell_lenient,
        }
    }

    /// A policy without errors.
    fn load(&self, path: &Path) -> anyhow::Result<Document> {
        // Its error names the file, line and column of each problem by itself.
        Document::load_with(path, self.options())
            .map_err(|error| anyhow!("read the policy:\n{error}"))
    }
}

/// What a run says of a policy that is probably not meant.
pub(crate) fn warnings(document: &Document, path: &Path) -> Vec<String> {
    let warnings = document.warnings();
    let listed = warnings.iter().take(MAX_NOTES);
    let mut notes: Vec<_> = listed.map(|warning| document.told(warning)).collect();
    if let Some(more @ 1..) = warnings.len().checked_sub(MAX_NOTES) {
        let path = path.display();
        notes.push(format!("and {more} more: casemate policy check {path}"));
    }
    notes
}

/// Runs the command.
///
/// # Errors
/// A file can't be used, or nothing can be printed.
pub(crate) fn run(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(args),
        Command::Test(args) => test::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Learn(args) => learn::run(*args),
    }
}

/// Success, or [`NO`].
fn answer(yes: bool) -> ExitCode {
    match yes {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NO),
    }
}

/// `1 error`, `2 errors`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
