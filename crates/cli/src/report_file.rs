//! Where a report goes.
//!
//! The file is opened before the program runs: afterwards its name may be a link that the
//! program made, to a file of the caller's.

use casemate_core::error::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use serde::Serialize;
use std::fs::File;
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
        let fail = |errno: Errno| failed(path, &errno.into());
        let (file, is_new) = match open_here(path, OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => (file, true),
            Err(Errno::EXIST) => (open_here(path, OFlags::empty()).map_err(fail)?, false),
            Err(errno) => return Err(fail(errno)),
        };
        let path = path.to_owned();
        Ok(Self::File { path, file, is_new })
    }

    /// Writes the report, in place of whatever the file held.
    pub(crate) fn write(self, report: &impl Serialize) -> Result<()> {
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

/// Opens a file for writing. No link on a relative path is followed, nor a link that is the file
/// itself: the folder may be one that an earlier program could write. A pipe that nobody reads
/// is refused and not waited for.
fn open_here(path: &Path, how: OFlags) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
    let mode = Mode::from_raw_mode(0o644);
    let mode = if how.is_empty() { Mode::empty() } else { mode };
    let links = match path.is_absolute() {
        true => ResolveFlags::empty(),
        false => ResolveFlags::NO_SYMLINKS,
    };
    openat2(CWD, path, flags, mode, links).map(File::from)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io("write the report", error).on(path.display())
}
