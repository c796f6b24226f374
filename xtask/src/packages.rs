//! Programs and files of the distribution: installed when that is possible, asked for when not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Finds a program on the caller's PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where `program` is, installing the package that holds it if that is needed and allowed.
pub(crate) fn installed(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(file) = find(program) {
        return Ok(file);
    }
    let hint = format!("hint: apt-get install {package}");
    if !rustix::process::geteuid().is_root() {
        bail!("{program} is not on PATH and only root can install it\n{hint}");
    }
    eprintln!("xtask: installing {package}");
    let install = ["install", "--yes", "--no-install-recommends", package];
    refreshed(|| {
        let mut apt = Command::new("apt-get");
        command::output(apt.args(install).env("DEBIAN_FRONTEND", "noninteractive"))
    })
    .context(hint)?;
    find(program).with_context(|| format!("{package} is installed but {program} is not on PATH"))
}

/// Downloads a package of the distribution and unpacks it, without installing it.
/// The folder is reused by the next run.
pub(crate) fn unpacked(package: &str, folder: &Path) -> Result<PathBuf> {
    unpacked_together(package, &[package], folder)
}

/// The same of several, which expect to find each other: into one folder of this name.
pub(crate) fn unpacked_together(name: &str, packages: &[&str], folder: &Path) -> Result<PathBuf> {
    let root = folder.join(name);
    if root.is_dir() {
        return Ok(root);
    }
    let fetch = tempfile::tempdir_in(folder)
        .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
    refreshed(|| {
        command::output(
            Command::new("apt-get")
                .arg("download")
                .args(packages)
                .current_dir(&fetch),
        )
    })
    .with_context(|| format!("{} cannot be downloaded", packages.join(", ")))?;
    let archives: Vec<_> = std::fs::read_dir(&fetch)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    if archives.len() != packages.len() {
        bail!(
            "apt-get download {} left {} archives",
            packages.join(" "),
            archives.len()
        );
    }
    let staging = fetch.path().join("root");
    for archive in archives {
        let mut unpack = Command::new("dpkg-deb");
        command::output(unpack.arg("-x").arg(archive).arg(&staging))?;
    }
    std::fs::rename(&staging, &root).with_context(|| format!("cannot place {}", root.display()))?;
    Ok(root)
}

/// The package that an empty one (`linux-image-amd64`) stands for; nothing if it is not empty.
pub(crate) fn dependency(package: &str, prefix: &str) -> Result<Option<String>> {
    let listing = refreshed(|| {
        let listing = command::output(Command::new("apt-cache").args(["depends", package]))?;
        if listing.trim().is_empty() {
            bail!("there is no package {package}")
        } else {
            Ok(listing)
        }
    })?;
    let names = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names
        .map(str::to_owned)
        .find(|name| name.starts_with(prefix)))
}

/// Tries again with new lists: those of a fresh machine are empty or old.
fn refreshed<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    attempt().or_else(
        |first| match command::output(Command::new("apt-get").arg("update")) {
            Ok(_) => attempt(),
            Err(_) => Err(first.context("hint: run apt-get update as root")),
        },
    )
}
