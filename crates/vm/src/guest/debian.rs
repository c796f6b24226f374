//! Packages of Debian, fetched and unpacked into a folder: the system they are fetched on stays as
//! it is. apt checks their signatures, as for those that it installs.

use super::tool::{self, Tool};
use casemate_core::error::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a list of dependencies.
const LIST: u64 = 1 << 20;
/// How folders begin in which a download is.
const FETCHING: &str = ".fetch-";
const ASK: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(1200);

/// A package, unpacked.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name, version and kind of machine, as its archive is called.
    pub name: String,
    /// Its files.
    pub root: PathBuf,
}

impl Package {
    /// Downloads a package and unpacks it into a folder of `cache`, unless this very version is
    /// there. One that is there is complete: it got its name last.
    pub fn obtain(package: &str, cache: &Path) -> Result<Self> {
        check(package)?;
        let name = refreshed(|| current(package))?;
        let root = cache.join(&name);
        unpack(package, cache, &root).map(|()| Self { name, root })
    }

    /// A kernel's; `package` may be one that only depends on it.
    pub(super) fn kernel(package: &str, cache: &Path) -> Result<Self> {
        let real = refreshed(|| dependency(package, "linux-image-"))?;
        Self::obtain(real.as_deref().unwrap_or(package), cache)
    }
}

fn unpack(package: &str, cache: &Path, root: &Path) -> Result<()> {
    let failed = |error: io::Error| Error::io("unpack a package in", &error).on(cache.display());
    fs::create_dir_all(cache).map_err(failed)?;
    // One at a time: the next one finds what this one fetched.
    let lock = File::create(cache.join(".lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if root.is_dir() {
        return Ok(());
    }
    sweep(cache).map_err(failed)?;
    let fetch = tempfile::Builder::new()
        .prefix(FETCHING)
        .tempdir_in(cache)
        .map_err(failed)?;
    download(package, fetch.path())?;
    let archives = fs::read_dir(&fetch).map_err(failed)?;
    let archive = archives
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let Some(archive) = archive else {
        return Err(Error::rule("download a package", "apt-get left no archive").on(package));
    };
    let staging = fetch.path().join("root");
    let mut unpack = Tool::DPKG_DEB
        .command()
        .map_err(|e| e.hint("on a system without dpkg, give a kernel of your own"))?;
    unpack.arg("-x").arg(archive).arg(&staging);
    tool::output("unpack a package", unpack, LIST, FETCH).map_err(|e| e.on(package))?;
    // A name must not reach the disk before what it stands for.
    rustix::fs::syncfs(&lock).map_err(|errno| failed(errno.into()))?;
    fs::rename(&staging, root).map_err(failed)
}

/// Removes what others have left that were killed; with the lock, nobody is at it.
fn sweep(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FETCHING) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What apt would download now: the archive's name, less its ending.
fn current(package: &str) -> Result<String> {
    let step = "look up a package";
    let mut ask = Tool::APT_GET.command()?;
    ask.args(["-qq", "--print-uris", "download", package]);
    let said = tool::output(step, ask, LIST, ASK).map_err(|e| e.on(package))?;
    let none = || Error::rule(step, "apt-get names no archive").on(package);
    archive_name(&String::from_utf8_lossy(&said)).ok_or_else(none)
}

/// Of "'http://…' NAME.deb SIZE SHA256:…".
fn archive_name(said: &str) -> Option<String> {
    let name = said.split_whitespace().nth(1)?.strip_suffix(".deb")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._~%".contains(c);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain);
    is_name.then(|| name.to_owned())
}

/// Names reach a command line and a path.
fn check(package: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let starts_well = package.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    match starts_well && package.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::rule("fetch a package", "no package has such a name").on(package)),
    }
}

fn download(package: &str, folder: &Path) -> Result<()> {
    let mut apt = Tool::APT_GET.command()?;
    // Its own user can't write where only the caller can; the signature is checked all the same.
    apt.args([
        "--quiet",
        "--option",
        "APT::Sandbox::User=root",
        "download",
        package,
    ]);
    apt.current_dir(folder);
    tool::output("download a package", apt, LIST, FETCH)
        .map(drop)
        .map_err(|e| e.on(package))
}

/// The package that an empty one stands for, such as the kernel behind `linux-image-amd64`.
fn dependency(package: &str, start: &str) -> Result<Option<String>> {
    check(package)?;
    let step = "look up a package";
    let mut ask = Tool::APT_CACHE.command()?;
    ask.args(["depends", package]);
    let said = tool::output(step, ask, LIST, ASK).map_err(|e| e.on(package))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if said.trim().is_empty() {
        return Err(Error::rule(step, "there is none of this name").on(package));
    }
    let names = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names
        .map(str::to_owned)
        .find(|name| name.starts_with(start)))
}

/// Tries again with new lists: those of a fresh system are empty, and old ones name archives that
/// are gone.
fn refreshed<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    attempt().or_else(|first| {
        let update = || {
            let mut apt = Tool::APT_GET.command()?;
            apt.args(["--quiet", "update"]);
            tool::output("refresh the lists of packages", apt, LIST, FETCH)
        };
        match update() {
            Ok(_) => attempt(),
            Err(_) => Err(first.hint("run apt-get update as root")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        for name in ["--foo", "a/b", "../a", "", "A", "a b", "a=1", ".a"] {
            assert!(check(name).is_err(), "{name}");
        }
        check("linux-image-6.1.0-56-cloud-amd64").unwrap();
        check("libstdc++6").unwrap();
    }

    #[test]
    fn what_is_there_is_not_fetched() {
        let cache = tempfile::tempdir().unwrap();
        let root = cache.path().join("no-such-package_1_all");
        fs::create_dir(&root).unwrap();
        unpack("no-such-package", cache.path(), &root).unwrap();
    }

    #[test]
    fn what_was_left_is_swept() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join(".fetch-abc/root")).unwrap();
        fs::create_dir(cache.path().join("kept")).unwrap();
        sweep(cache.path()).unwrap();
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn an_archive_is_named_with_its_version() {
        let said = "'http://a/b_1%2b2_amd64.deb' b_1%3a1+2_amd64.deb 92 SHA256:3d\n";
        assert_eq!(archive_name(said).as_deref(), Some("b_1%3a1+2_amd64"));
        for said in ["", "'http://a'", "x ../b.deb", "x .b.deb", "x b.tar"] {
            assert_eq!(archive_name(said), None, "{said}");
        }
    }
}
