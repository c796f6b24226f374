//! `casemate doctor`: what this machine can enforce, a line each, and what to do where it can't.
//!
//! The probes are `casemate_sys::probe`; this file turns their results into words. Each check is
//! `ok`, `weak` (something works, but not all of it) or `missing`. A missing check that the
//! process wall needs makes the command exit with 1.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use casemate_sys::probe::Survey;
use serde::Serialize;

mod beyond;
mod limits;
#[cfg(test)]
mod tests;
mod wall;

// The arguments of `casemate doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tries what the machine can do and prints it; 1 if something that the wall needs is missing.
///
/// # Errors
/// Standard output can't be written to.
pub(crate) fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let survey = Survey::take();
    let report = Report::of(&survey);
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&report)?),
        false => format!("{report}\nprobed in {} ms\n", survey.took.as_millis()),
    };
    let printed = io::stdout().write_all(text.as_bytes());
    printed.context("writing the findings to standard output")?;
    Ok(ExitCode::from(u8::from(!report.ready)))
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Weak,
    Missing,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found.
    value: String,
    /// What it is for.
    detail: &'static str,
    /// What to do, where there is something to do.
    remedy: Option<String>,
    /// The wall can't run whole without it.
    #[serde(skip)]
    needed: bool,
    /// It was tried; false if what it stands on failed.
    #[serde(skip)]
    reached: bool,
}

/// The result of one check, before it has a name.
struct Finding {
    status: Status,
    value: String,
    remedy: Option<String>,
    reached: bool,
}

impl Finding {
    fn ok(value: impl Into<String>) -> Self {
        Finding {
            status: Status::Ok,
            value: value.into(),
            remedy: None,
            reached: true,
        }
    }

    fn weak(value: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            status: Status::Weak,
            remedy: Some(remedy.into()),
            ..Finding::ok(value)
        }
    }

    fn missing(value: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            status: Status::Missing,
            ..Finding::weak(value, remedy)
        }
    }

    /// The attempt did not come to `step`; [`Report::of`] adds the remedy.
    fn not_reached(step: &str) -> Self {
        Finding {
            status: Status::Missing,
            reached: false,
            ..Finding::ok(format!("{step} not reached"))
        }
    }

    /// A check that the wall can't do without.
    fn needed(self, name: &'static str, detail: &'static str) -> Check {
        Check {
            needed: true,
            ..self.wanted(name, detail)
        }
    }

    /// A check that something beside the wall, or a part of it, is better for.
    fn wanted(self, name: &'static str, detail: &'static str) -> Check {
        Check {
            name,
            status: self.status,
            value: self.value,
            detail,
            remedy: self.remedy,
            needed: false,
            reached: self.reached,
        }
    }
}

/// All checks, and what they come to.
#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Check>,
}

impl Report {
    fn of(survey: &Survey) -> Self {
        let mut checks = wall::checks(survey);
        checks.extend(limits::checks(survey));
        checks.extend(beyond::checks(survey));
        let why = match survey.userns.mount.worked() {
            true => "what it stands on failed (see above), or a filter or the time limit ended it",
            false => "first make user-namespaces work",
        };
        for check in checks.iter_mut().filter(|check| !check.reached) {
            check.remedy = Some(why.to_owned());
        }
        let ready = !checks.iter().any(Check::stops_the_wall);
        Report { ready, checks }
    }
}

impl Report {
    /// What stops the wall; what merely stands on something that failed only if that is all.
    fn causes(&self) -> Vec<&'static str> {
        let stopping = || self.checks.iter().filter(|check| check.stops_the_wall());
        let tried = stopping().any(|check| check.reached);
        let causes = stopping().filter(|check| check.reached || !tried);
        causes.map(|check| check.name).collect()
    }
}

impl Check {
    fn stops_the_wall(&self) -> bool {
        self.needed && self.status == Status::Missing
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        if self.ready {
            return f.write_str("\nready: the process wall can run whole");
        }
        let causes = self.causes().join(", ");
        write!(f, "\nnot ready: the process wall needs {causes}")
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check {
            name,
            value,
            detail,
            ..
        } = self;
        write!(f, "{:<8} {name:<15} {value} — {detail}", self.status)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Ok => "ok",
            Status::Weak => "weak",
            Status::Missing => "missing",
        })
    }
}
