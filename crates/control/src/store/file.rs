//! The file of the store: for its owner alone, as tokens of sandboxes are in it, and for one daemon.

use casemate_core::error::{Error, Result};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes folder and file where they are missing.
pub(super) fn make(path: &Path) -> Result<()> {
    let failed = |step: &str, error: std::io::Error| {
        Error::io(step, &error)
            .on(path.display())
            .hint("the folder of the store has to be yours and writable")
    };
    let folder = path.parent().unwrap_or(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(folder)
        .map_err(|error| failed("make the folder of the store", error))?;
    // The file is only ever made here, never opened once SQLite has it: closing any descriptor of
    // a file takes away the locks that SQLite, in this process, holds on it (fcntl(2)).
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match new {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|error| failed("close the store to others", error))
        }
        made => made
            .map(drop)
            .map_err(|error| failed("make the store", error)),
    }
}

/// Takes the lock beside the file; the kernel lets go of it when the daemon ends.
pub(super) fn take_turn(path: &Path) -> Result<File> {
    let lock = path.with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options
        .open(&lock)
        .map_err(|error| Error::io("open the lock of the store", &error).on(lock.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::rule("open the store", "another daemon uses it")
                .on(path.display())
                .hint("stop that daemon, or give this one a store of its own"))
        }
        Err(TryLockError::Error(error)) => {
            Err(Error::io("lock the store", &error).on(lock.display()))
        }
    }
}
