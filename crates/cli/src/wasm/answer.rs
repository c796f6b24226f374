//! What a canister answered, for whoever reads it.

use crate::printer;
use casemate_core::exit;
use casemate_core::hex;
use casemate_wasm::candid::{self, Form, Of};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::process::ExitCode;

/// What a reply is printed as.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Candid text
    Candid,
    /// JSON, on one line
    Json,
    /// Hexadecimal digits
    Hex,
    /// As it is
    Raw,
}

// How the reply is printed.
#[derive(Args)]
pub(super) struct OutputArgs {
    /// What the reply is printed as [default: candid, or hex if it isn't Candid]
    #[arg(long, value_enum, value_name = "FORM", group = "form")]
    output: Option<Output>,
    /// Short for --output json
    #[arg(long, group = "form")]
    json: bool,
    /// Short for --output hex
    #[arg(long, group = "form")]
    hex: bool,
    /// Short for --output raw
    #[arg(long, group = "form")]
    raw: bool,
}

impl OutputArgs {
    fn wish(&self) -> Option<Output> {
        let short = [
            (self.json, Output::Json),
            (self.hex, Output::Hex),
            (self.raw, Output::Raw),
        ];
        let short = short.into_iter().find(|(is, _)| *is);
        self.output.or(short.map(|(_, output)| output))
    }

    /// Says that what a call did isn't written yet.
    pub(super) fn warn_unwritten(&self) {
        match self.wish() {
            // For programs, on a line that is told from all others.
            Some(Output::Json) => drop(writeln!(std::io::stderr(), r#"{{"unwritten":true}}"#)),
            _ => printer::note(
                "what the call did is lost if everything ends before the next checkpoint",
            ),
        }
    }

    /// Prints a reply.
    pub(super) fn print(
        &self,
        interface: Option<&str>,
        of: Of<'_>,
        bytes: &[u8],
    ) -> anyhow::Result<ExitCode> {
        let form = match self.wish() {
            Some(Output::Raw) => {
                std::io::stdout().write_all(bytes)?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(Output::Hex) => return digits(bytes),
            Some(Output::Json) => Form::Json,
            Some(Output::Candid) | None => Form::Candid,
        };
        let asked = self.wish().is_some();
        // A canister that doesn't say that it speaks Candid may speak something else.
        let is_other = interface.is_none() && !bytes.starts_with(b"DIDL");
        if is_other && !asked {
            return digits(bytes);
        }
        match candid::reply(interface, of, bytes, form) {
            Ok(text) => {
                printer::say(&format!("{text}\n"))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(fault) if asked => {
                printer::error(&fault.to_string());
                Ok(ExitCode::from(exit::FAILED))
            }
            Err(fault) => {
                printer::note(&format!("{}: {}", fault.what, fault.why));
                digits(bytes)
            }
        }
    }
}

fn digits(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    printer::say(&format!("{}\n", hex::encode(bytes)))?;
    Ok(ExitCode::SUCCESS)
}
