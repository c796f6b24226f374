//! Packages that tests use unchanged. They come from their indexes by the ordinary clients; a machine
//! that reaches none says so.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::support::works;
use std::process::Command;
use tempfile::TempDir;

/// False, and said so, if an ordinary client can't get it.
pub(crate) fn comes(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    if !output.status.success() {
        println!(
            "skipped: {command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

/// A package of Python's, and what it needs, in a virtual environment: the folder `venv` of this
/// one.
pub(crate) fn python(package: &str) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let venv = folder.path().join("venv");
    works(
        Command::new("/usr/bin/python3")
            .args(["-m", "venv"])
            .arg(&venv),
    );
    let mut install = Command::new(venv.join("bin/python"));
    comes(install.args(["-m", "pip", "install", "-q", package])).then_some(folder)
}

/// Packages of npm's in a folder of their own.
pub(crate) fn npm(packages: &[&str]) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mut install = Command::new("npm");
    install
        .args(["install", "--silent", "--no-audit", "--no-fund"])
        .args(packages)
        .current_dir(folder.path());
    comes(&mut install).then_some(folder)
}
