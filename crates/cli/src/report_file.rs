//! Where a report goes.
//!
//! The file is opened before the program runs: afterwards its name may be a link that the
//! program made, to a file of the caller's.

use casemate_core::error::{Error, Result};
use casemate_core::report::Report;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// An open place for a report.
pub(crate) enum ReportFile {
    /// Standard output.
    Stdout,
    /// A file, and its path if it was not there before.
    File {
        path: PathBuf,
        file: File,
        is_new: bool,
    },
}

impl ReportFile {
    /// Opens it; `-` is standard output.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let new = OpenOptions::new().write(true).create_new(true).open(path);
        let (file, is_new) = match new {
            Ok(file) => (file, true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = OpenOptions::new().write(true).open(path);
                (file.map_err(|error| failed(path, &error))?, false)
            }
            Err(error) => return Err(failed(path, &error)),
        };
        let path = path.to_owned();
        Ok(Self::File { path, file, is_new })
    }

    /// Writes the report, in place of whatever the file held.
    pub(crate) fn write(self, report: &Report) -> Result<()> {
        let mut text = serde_json::to_string_pretty(report)
            .map_err(|error| Error::rule("write the report", error.to_string()))?;
        text.push('\n');
        match self {
            Self::Stdout => std::io::stdout()
                .write_all(text.as_bytes())
                .map_err(|error| failed(Path::new("-"), &error)),
            Self::File { path, mut file, .. } => file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()))
                .map_err(|error| failed(&path, &error)),
        }
    }

    /// Nothing ran: a file that was made for the report goes again.
    pub(crate) fn discard(self) {
        if let Self::File {
            path, is_new: true, ..
        } = self
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io("write the report", error).on(path.display())
}
