//! How a run ended: as text, as exit code, as JSON.
//!
//! What the process of a guest says is only told. What the wall did to it, the wall says.

use crate::printer;
use casemate_core::error::Error;
use casemate_core::exit::{self, Failure, Outcome};
use casemate_core::limits::{ByteSize, Reached};
use casemate_wasm::tool::{Complaint, End, Frame, Job, Phase, Verdict};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// One run, ended.
#[derive(Serialize)]
pub(super) struct Account {
    /// The form of this document; grows when a field changes its meaning.
    version: u32,
    /// A word for it.
    outcome: &'static str,
    exit_code: u8,
    /// The same for a person; nothing if the program ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The trap's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    trap: Option<String>,
    /// Where in the program that was, the innermost call first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames: Vec<Frame>,
    /// What the export returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<String>>,
    /// Instructions that were executed; null if nobody could say.
    instructions: Option<u64>,
    /// The most that memories and tables had together.
    peak_memory_bytes: Option<u64>,
    /// Wall time of all of it, with the start of the process and the compilation.
    pub(super) duration_seconds: f64,
}

impl Account {
    fn ended(outcome: &'static str, exit_code: u8) -> Self {
        Self {
            version: 1,
            outcome,
            exit_code,
            message: None,
            hint: None,
            trap: None,
            frames: Vec::new(),
            results: None,
            instructions: None,
            peak_memory_bytes: None,
            duration_seconds: 0.0,
        }
    }

    fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Nothing ran, or nobody knows what.
    pub(super) fn failed(failure: &Failure) -> Self {
        let mut error = failure.error.clone();
        let hint = error.hint.take();
        let account = Self::ended("failed", failure.code).saying(error.to_string());
        Self { hint, ..account }
    }

    /// What the wall saw, and what the process said.
    pub(super) fn new(job: &Job, wall: Outcome, phase: Phase, verdict: Option<Verdict>) -> Self {
        match (wall, verdict) {
            (Outcome::Exited { status: 0 }, Some(verdict)) => Self::said(job, verdict),
            (Outcome::Stopped { limit }, _) => Self::stopped(job, &limit, phase),
            (Outcome::Signaled { signal }, _) => {
                let wall = Outcome::Signaled { signal };
                let doing = doing(phase);
                Self::ended("killed", wall.code()).saying(format!(
                    "signal {signal} ended the program's process {doing}"
                ))
            }
            (Outcome::Exited { status }, _) => {
                let why = format!("it ended with {status} and said nothing {}", doing(phase));
                Self::failed(&Error::rule("run the program's process", why).into())
            }
        }
    }

    fn said(job: &Job, verdict: Verdict) -> Self {
        let account = match verdict.end {
            // As the kernel cuts every exit code (exit(3)).
            End::Exited { code } => Self::ended("exited", code as u8),
            End::Returned { values } => Self {
                results: Some(values),
                ..Self::ended("returned", 0)
            },
            End::Trapped { kind, message } => Self {
                trap: Some(kind),
                ..Self::ended("trapped", exit::TRAP).saying(format!("trap: {message}"))
            },
            End::OutOfFuel => Self::ended("out_of_fuel", exit::FUEL).saying(format!(
                "stopped: instruction limit {} reached",
                job.fuel.unwrap_or(u64::MAX)
            )),
            End::MemoryLimit { wanted } => Self::over_memory(job, ByteSize(wanted)),
            End::TimeLimit => Self::over_time(job, ""),
            End::Unfit(complaint) => Self::refused(complaint, exit::NOT_EXECUTABLE),
            End::Misused(complaint) => Self::refused(complaint, exit::FAILED),
        };
        Self {
            frames: verdict.frames,
            instructions: verdict.instructions,
            peak_memory_bytes: Some(verdict.peak_memory),
            ..account
        }
    }

    /// The wall had to end it.
    fn stopped(job: &Job, limit: &Reached, phase: Phase) -> Self {
        let code = limit.code();
        match limit {
            Reached::Time { .. } => Self::over_time(job, &format!(" {}", doing(phase))),
            Reached::Memory { .. } => Self::ended("memory_limit", code).saying(format!(
                "stopped: {limit} by the program's process {}",
                doing(phase)
            )),
            _ => Self::ended("stopped", code).saying(format!("stopped: {limit}")),
        }
    }

    fn over_memory(job: &Job, wanted: ByteSize) -> Self {
        let limit = ByteSize(job.memory);
        Self::ended("memory_limit", exit::MEMORY).saying(format!(
            "stopped: memory limit {limit} reached ({wanted} wanted)"
        ))
    }

    fn over_time(job: &Job, doing: &str) -> Self {
        let limit = job.timeout.unwrap_or_default();
        Self::ended("time_limit", exit::TIME)
            .saying(format!("stopped: time limit {limit:?} reached{doing}"))
    }

    fn refused(complaint: Complaint, code: u8) -> Self {
        let message = format!("{}: {}", complaint.step, complaint.why);
        Self {
            hint: complaint.hint,
            ..Self::ended("refused", code).saying(message)
        }
    }

    /// Says it to a person.
    pub(super) fn tell(&self) -> ExitCode {
        if let Some(message) = &self.message {
            let hint = self.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
            let text = format!("{message}{}", hint.unwrap_or_default());
            match self.outcome {
                "refused" | "failed" => printer::error(&text),
                _ => printer::line(&text),
            }
        }
        for frame in &self.frames {
            printer::line(&format!("  in {}", shown(frame)));
        }
        ExitCode::from(self.exit_code)
    }

    /// Says it to a program, as one line.
    pub(super) fn tell_json(&self) -> ExitCode {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        // Nobody is left to tell if standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.exit_code)
    }
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "before it began",
        Phase::Compiling => "while the module was compiled",
        Phase::Running => "while the program ran",
    }
}

fn shown(frame: &Frame) -> String {
    let index = frame.index;
    let function = match &frame.function {
        Some(name) => format!("{name} (function {index})"),
        None => format!("function {index}"),
    };
    match frame.offset {
        Some(offset) => format!("{function} at byte {offset:#x}"),
        None => function,
    }
}
