//! File to text: a regular file of at most 1 MiB, in UTF-8.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::str;

use crate::error::{PolicyError, Problem};
use crate::position::Position;

/// The largest policy that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Why a file can't be read.
pub(crate) struct Refusal {
    /// Where in it, if it's about its contents.
    pub(crate) position: Option<Position>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    fn of_file(message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            position: None,
            message: message.into(),
            hint,
        }
    }
}

/// The text of a policy's file, as it is.
///
/// # Errors
/// Why it can't be read.
pub fn text(path: &Path) -> Result<String, PolicyError> {
    read(path, "policy", CURRENT).map_err(|refusal| {
        let problem = Problem {
            position: refusal.position,
            message: refusal.message,
            hint: refusal.hint,
            lint: None,
        };
        PolicyError::new(vec![path.to_string_lossy().into_owned()], vec![problem])
    })
}

/// Where a relative path that the user gives starts.
pub(crate) const CURRENT: &str = "the current directory";

/// The text of the file. `what` is what messages call it, and `start` says where a relative path
/// to it starts.
pub(crate) fn read(path: &Path, what: &str, start: &str) -> Result<String, Refusal> {
    let bytes = open(path, what, start)?;
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the {what} file is larger than {MAX_FILE_BYTES} bytes");
        return Err(Refusal::of_file(message, None));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(&error, what))
}

/// The bytes of a regular file, at most one more than allowed.
fn open(path: &Path, what: &str, start: &str) -> Result<Vec<u8>, Refusal> {
    // Looked at before it's opened, because opening a FIFO waits for a writer; and the open file
    // once more, because the name may meanwhile mean another one.
    let checked = (|| {
        if let Some(kind) = other_kind(&std::fs::metadata(path)?) {
            return Ok(Err(kind));
        }
        let file = File::open(path)?;
        if let Some(kind) = other_kind(&file.metadata()?) {
            return Ok(Err(kind));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(Ok(bytes))
    })();
    match checked {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(kind)) => Err(Refusal::of_file(
            format!("the {what} must be a regular file; this is {kind}"),
            Some("name the file itself; pipes and devices are not read".to_owned()),
        )),
        Err(error) => Err(Refusal::of_file(
            format!("cannot read the {what} file: {error}"),
            remedy(&error, start),
        )),
    }
}

/// What this is, if it isn't a regular file.
fn other_kind(metadata: &std::fs::Metadata) -> Option<&'static str> {
    match metadata.file_type() {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a directory"),
        _ => Some("a pipe, socket or device"),
    }
}

fn remedy(error: &io::Error, start: &str) -> Option<String> {
    match error.kind() {
        ErrorKind::NotFound => Some(format!("check the name; a relative path starts at {start}")),
        ErrorKind::PermissionDenied => {
            Some("the user who starts casemate must be able to read it".to_owned())
        }
        _ => None,
    }
}

fn not_utf8(error: &std::string::FromUtf8Error, what: &str) -> Refusal {
    let bytes = error.as_bytes();
    let valid_up_to = error.utf8_error().valid_up_to();
    let valid = str::from_utf8(&bytes[..valid_up_to]).unwrap_or_default();
    Refusal {
        position: Some(Position::after(valid)),
        message: format!("byte 0x{:02x} is not UTF-8", bytes[valid_up_to]),
        hint: Some(format!("save the {what} as UTF-8")),
    }
}
