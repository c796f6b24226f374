//! The perf log: a line of JSON for each phase that ended.
//!
//! ```text
//! {"time":"2026-11-20T10:11:12.345Z","phase":"hashing","us":1234.5,"thread":4711}
//! ```
//!
//! It is for somebody who looks for what takes long, and off unless asked for: each line is
//! written as it comes, by the thread that did the work.

use super::journal::now;
use super::phases::Phase;
use crate::civil::Civil;
use casemate_core::error::{Error, Result};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// See the module.
pub struct PerfLog(File);

impl PerfLog {
    /// Appends to a regular file, of which only the owner may read.
    ///
    /// # Errors
    /// It can't be opened, or is a link or no file.
    pub fn to_file(path: &Path) -> Result<Self> {
        let fail = |error| Error::io("open the perf log", &error).on(path.display());
        // A link that somebody put there would lead elsewhere; a pipe would wait for a reader.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(flags.bits() as i32)
            .open(path)
            .map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(
                Error::rule("open the perf log", "it is not a regular file").on(path.display())
            );
        }
        Ok(Self(file))
    }

    pub(super) fn write(&self, phase: Phase, time: Duration) {
        let line = format!(
            "{{\"time\":\"{}\",\"phase\":\"{}\",\"us\":{:.1},\"thread\":{}}}\n",
            Civil::from_unix_millis(now()).rfc3339(),
            phase.name(),
            time.as_nanos() as f64 / 1000.0,
            rustix::thread::gettid().as_raw_nonzero(),
        );
        // One write(2) with O_APPEND: lines of several threads don't mix. A full disk must not
        // end a connection.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
