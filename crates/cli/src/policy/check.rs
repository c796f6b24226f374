//! `casemate policy check`: what is wrong with policies, and what is probably not meant.
//!
//! What is probably not meant is looked for only where nothing is wrong: a value that can't be read
//! would make for warnings that go away with the error.

use super::{Reading, answer, counted, sarif};
use crate::printer;
use casemate_policy::{Document, Judge, PolicyError, Problem};
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

// The arguments of `casemate policy check`.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 no errors; 1 errors, or warnings with --deny-warnings.")]
pub(super) struct CheckArgs {
    /// The policies
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to say it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line for each problem, and one with a hint
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, as code hosts and editors take it
    Sarif,
}

/// All that was found.
#[derive(Default, Serialize)]
pub(super) struct Findings {
    pub(super) problems: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

/// A problem of one file.
#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The id of the lint that found it, if one did.
    #[serde(serialize_with = "id")]
    pub(super) lint: Option<casemate_policy::Lint>,
    pub(super) file: String,
    /// None if it's about the file and not its text; so is the column.
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Error,
    Warning,
}

impl Severity {
    /// As SARIF's `level` and compilers have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Checks each file.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    for file in &args.files {
        findings.check(file, &args.reading);
    }
    let text = match args.format {
        Format::Text => findings.text(args.files.len()),
        Format::Json => serde_json::to_string_pretty(&findings)? + "\n",
        Format::Sarif => serde_json::to_string_pretty(&sarif::log(&findings.problems))? + "\n",
    };
    printer::say(&text)?;
    let failed = findings.errors > 0 || args.deny_warnings && findings.warnings > 0;
    Ok(answer(!failed))
}

impl Findings {
    fn check(&mut self, file: &Path, reading: &Reading) {
        let document = match Document::load_with(file, reading.options()) {
            Ok(document) => document,
            Err(error) => return self.refuse(&error),
        };
        for warning in document.warnings() {
            let file = warning.position.map(|position| document.file_of(position));
            let file = file.unwrap_or_else(|| document.name());
            self.problems
                .push(Finding::of(Severity::Warning, warning, file));
        }
        self.warnings += document.warnings().len();
        if let Err(error) = Judge::new(&document) {
            self.refuse(&error);
        }
    }

    fn refuse(&mut self, error: &PolicyError) {
        let problems = error.problems().iter();
        let found =
            problems.map(|problem| Finding::of(Severity::Error, problem, error.file_of(problem)));
        self.problems.extend(found);
        self.errors += error.problems().len() + error.unlisted();
        if error.unlisted() > 0 {
            self.problems.push(Finding {
                severity: Severity::Error,
                lint: None,
                file: error.name().to_owned(),
                line: None,
                column: None,
                message: format!("and {} more", error.unlisted()),
                hint: None,
            });
        }
    }

    fn text(&self, files: usize) -> String {
        let mut text: String = self.problems.iter().map(Finding::text).collect();
        let (errors, warnings) = (
            counted(self.errors, "error"),
            counted(self.warnings, "warning"),
        );
        text += &format!("{}: {errors}, {warnings}\n", counted(files, "file"));
        text
    }
}

impl Finding {
    fn of(severity: Severity, problem: &Problem, file: &str) -> Self {
        Self {
            severity,
            lint: problem.lint,
            file: file.to_owned(),
            line: problem.position.map(|position| position.line),
            column: problem.position.map(|position| position.column),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }

    /// As compilers write it, so that editors find the place.
    fn text(&self) -> String {
        let mut text = self.file.replace('\n', "\\n");
        if let (Some(line), Some(column)) = (self.line, self.column) {
            text += &format!(":{line}:{column}");
        }
        text += &format!(": {}", self.severity.name());
        if let Some(lint) = self.lint {
            text += &format!("[{}]", lint.id());
        }
        text += &format!(": {}\n", self.message);
        if let Some(hint) = &self.hint {
            text += &format!("hint: {hint}\n");
        }
        text
    }
}

fn id<S: Serializer>(lint: &Option<casemate_policy::Lint>, to: S) -> Result<S::Ok, S::Error> {
    lint.map(casemate_policy::Lint::id).serialize(to)
}
