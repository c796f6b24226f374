//! The file of the store: made for the owner alone, and refused if others got at it.
//!
//! It is never opened here once it exists: closing any descriptor of a file takes away the locks
//! that SQLite, in this same process, holds on it (fcntl(2)).

use casemate_core::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, symlink_metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes folder and file where they are missing, and looks at both.
pub(super) fn make(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed("make the folder", folder, &error))?;
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match new {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(failed("make the file", path, &error))
        }
        _ => check(path).map(drop),
    }
}

/// False if there is no file.
pub(super) fn check(path: &Path) -> Result<bool> {
    let folder = path.parent().unwrap_or(path);
    for (path, is_folder) in [(folder, true), (path, false)] {
        let found = match symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found.map_err(|error| failed("look at", path, &error))?,
        };
        if let Some(why) = objection(&found, is_folder) {
            let mode = if is_folder { "700" } else { "600" };
            return Err(Error::rule("trust what the identity store says", why)
                .on(path.display())
                .hint(format!(
                    "see who changed it, then `chmod {mode}` it, or move it away to start anew"
                )));
        }
    }
    Ok(true)
}

fn objection(found: &Metadata, is_folder: bool) -> Option<&'static str> {
    let right_kind = match is_folder {
        true => found.is_dir(),
        false => found.is_file(),
    };
    if !right_kind {
        return Some("it is no regular file in a real folder");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Some("it belongs to another user");
    }
    // To read it is harmless to it, but tells what this user runs.
    (found.mode() & 0o077 != 0).then_some("other users may use it")
}

/// Waits until no other process opens the store.
pub(super) fn take_turn(path: &Path) -> Result<File> {
    let lock = path.with_extension("lock");
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let file = options
        .open(&lock)
        .map_err(|error| failed("open the lock", &lock, &error))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock", &lock, &errno.into()))?;
    Ok(file)
}

fn failed(step: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("{step} of the identity store"), error)
        .on(path.display())
        .hint("the folder of the identity store has to be yours and writable")
}
