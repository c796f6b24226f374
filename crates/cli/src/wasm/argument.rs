//! What a canister is called with, as somebody types it.

use anyhow::{Context, bail};
use casemate_core::hex;
use casemate_wasm::candid::{self, Of};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// How an argument is written.
#[derive(Clone, Copy, ValueEnum)]
enum Written {
    /// Candid text: (1, "x")
    Candid,
    /// JSON: a list of the arguments
    Json,
    /// Bytes, which are passed as they are
    Raw,
}

// The argument of an installation; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(super) struct InitArgument {
    /// The argument, as Candid text: (1, "x")
    #[arg(long = "arg", value_name = "CANDID", group = "argument")]
    text: Option<String>,
    #[command(flatten)]
    other: OtherArgument,
}

// The argument of a call.
#[derive(Args)]
pub(super) struct CallArgument {
    /// The argument, as Candid text: (1, "x")
    #[arg(value_name = "CANDID", group = "argument")]
    text: Option<String>,
    #[command(flatten)]
    other: OtherArgument,
}

// An argument that isn't given as text of Candid.
#[derive(Args)]
struct OtherArgument {
    /// The argument, as JSON: [1, "x"]
    #[arg(long, value_name = "JSON", group = "argument")]
    arg_json: Option<String>,
    /// The argument, as the hexadecimal digits of its bytes
    #[arg(long, value_name = "DIGITS", group = "argument")]
    arg_hex: Option<String>,
    /// The argument: what is in this file
    #[arg(long, value_name = "FILE", group = "argument")]
    arg_file: Option<PathBuf>,
    /// How the file is written [default: by its name: .json, .did and .txt for Candid, or raw]
    #[arg(long, value_name = "FORM", requires = "arg_file")]
    arg_format: Option<Written>,
}

/// An argument that was read, and isn't bytes yet.
pub(super) enum Argument {
    Candid(String),
    Json(String),
    Bytes(Vec<u8>),
    Nothing,
}

impl InitArgument {
    pub(super) fn read(self) -> anyhow::Result<Argument> {
        self.other.read(self.text)
    }
}

impl CallArgument {
    pub(super) fn read(self) -> anyhow::Result<Argument> {
        self.other.read(self.text)
    }
}

impl OtherArgument {
    fn read(self, text: Option<String>) -> anyhow::Result<Argument> {
        if let Some(text) = text {
            return Ok(Argument::Candid(text));
        }
        if let Some(json) = self.arg_json {
            return Ok(Argument::Json(json));
        }
        if let Some(digits) = self.arg_hex {
            return match hex::decode(&digits) {
                Some(bytes) => Ok(Argument::Bytes(bytes)),
                None => bail!("--arg-hex {digits}: not an even number of hexadecimal digits"),
            };
        }
        let Some(path) = self.arg_file else {
            return Ok(Argument::Nothing);
        };
        let bytes = std::fs::read(&path)
            .with_context(|| format!("read the argument {}", path.display()))?;
        let written = self.arg_format.unwrap_or_else(|| by_name(&path));
        let text = |bytes| {
            String::from_utf8(bytes).with_context(|| {
                format!(
                    "read the argument {}: it is no text\nhint: --arg-format raw passes its bytes",
                    path.display()
                )
            })
        };
        Ok(match written {
            Written::Raw => Argument::Bytes(bytes),
            Written::Json => Argument::Json(text(bytes)?),
            Written::Candid => Argument::Candid(text(bytes)?),
        })
    }
}

fn by_name(path: &Path) -> Written {
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => Written::Json,
        Some("did" | "txt") => Written::Candid,
        _ => Written::Raw,
    }
}

impl Argument {
    /// Its bytes, by what the canister says of its types.
    pub(super) fn bytes(&self, interface: Option<&str>, of: Of<'_>) -> anyhow::Result<Vec<u8>> {
        let given = match self {
            Self::Bytes(bytes) => return Ok(bytes.clone()),
            Self::Candid(text) => candid::Argument::Candid(text),
            Self::Json(text) => candid::Argument::Json(text),
            Self::Nothing => candid::Argument::Nothing,
        };
        Ok(candid::argument(interface, of, given)?)
    }
}
