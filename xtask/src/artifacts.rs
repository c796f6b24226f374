//! The workspace's own programs, built as they are handed out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Names a `casemate` program to be used instead of building one.
pub(crate) const CASEMATE_BIN: &str = "CASEMATE_BIN";
/// Names an `attempt` program to be used instead of building one.
const ATTEMPT_BIN: &str = "ATTEMPT_BIN";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program of this workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The product.
    Casemate,
    /// The attempts to get out.
    Attempt,
    /// This program, but optimised.
    Xtask,
}

impl Program {
    fn package(self) -> &'static str {
        match self {
            Program::Casemate => "casemate",
            Program::Attempt => "casemate-adversary",
            Program::Xtask => "xtask",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Program::Casemate => "casemate",
            Program::Attempt => "attempt",
            Program::Xtask => "xtask",
        }
    }

    fn given(self) -> Result<Option<PathBuf>> {
        let variable = match self {
            Program::Casemate => CASEMATE_BIN,
            Program::Attempt => ATTEMPT_BIN,
            Program::Xtask => return Ok(None),
        };
        let Some(value) = std::env::var_os(variable) else {
            return Ok(None);
        };
        let file = Path::new(&value)
            .canonicalize()
            .with_context(|| format!("{variable} names {}", value.display()))?;
        if !file.is_file() {
            bail!("{variable} names {}, which is not a file", file.display());
        }
        Ok(Some(file))
    }
}

/// Where each program is, in the order asked for. What is not named by a variable is built.
pub(crate) fn built<const N: usize>(programs: [Program; N]) -> Result<[PathBuf; N]> {
    let mut files = [const { PathBuf::new() }; N];
    for (file, program) in files.iter_mut().zip(programs) {
        match program.given()? {
            Some(given) => *file = given,
            None => {
                build(program.package(), &[])?;
                *file = target().join(TARGET).join("release").join(program.file());
            }
        }
    }
    Ok(files)
}

/// An example of a package, built as the programs are.
pub(crate) fn example(package: &str, name: &str) -> Result<PathBuf> {
    build(package, &["--example", name])?;
    let folder = target().join(TARGET).join("release");
    Ok(folder.join("examples").join(name))
}

/// Builds one alone: together they would be built with the features of all.
fn build(package: &str, what: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace())
        .args(["build", "--quiet", "--release", "--package", package])
        .args(what);
    command::run(&mut cargo).with_context(|| format!("{package} could not be built"))
}

/// The folder for what a chore writes and keeps, made if it is absent.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let folder = target().join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The folder that all of it lies in.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies inside the workspace")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
