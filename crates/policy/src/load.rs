//! File to text: a regular file of at most 1 MiB, in UTF-8.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::str;

use crate::error::Report;
use crate::position::Position;

/// The largest policy that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The text of the file, or nothing if a problem was reported.
pub(crate) fn read(path: &Path, report: &mut Report) -> Option<String> {
    let bytes = match open(path, report)? {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read the policy file: {error}");
            report.add_for_file(message, remedy(&error));
            return None;
        }
    };
    if bytes.len() > MAX_FILE_BYTES {
        report.add_for_file(
            format!("the policy file is larger than {MAX_FILE_BYTES} bytes"),
            None,
        );
        return None;
    }
    String::from_utf8(bytes)
        .map_err(|error| not_utf8(&error, report))
        .ok()
}

/// The bytes of a regular file, at most one more than allowed; nothing if it's another kind.
fn open(path: &Path, report: &mut Report) -> Option<io::Result<Vec<u8>>> {
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
        Ok(Ok(bytes)) => Some(Ok(bytes)),
        Ok(Err(kind)) => {
            report.add_for_file(
                format!("the policy must be a regular file; this is {kind}"),
                Some("name the file itself; pipes and devices are not read"),
            );
            None
        }
        Err(error) => Some(Err(error)),
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

fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::NotFound => {
            Some("check the name; a relative path starts at the current directory")
        }
        ErrorKind::PermissionDenied => Some("the user who starts casemate must be able to read it"),
        _ => None,
    }
}

fn not_utf8(error: &std::string::FromUtf8Error, report: &mut Report) {
    let bytes = error.as_bytes();
    let valid_up_to = error.utf8_error().valid_up_to();
    let valid = str::from_utf8(&bytes[..valid_up_to]).unwrap_or_default();
    report.add_with_hint(
        Position::after(valid),
        format!("byte 0x{:02x} is not UTF-8", bytes[valid_up_to]),
        "save the policy as UTF-8",
    );
}
