//! What a machine's root disk starts with.

use super::super::disk::{self, Contents, Purpose};
use super::super::tool::{self, Tool};
use casemate_core::error::{Error, Result};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of what debootstrap prints.
const SAID: u64 = 16 << 20;
const INSTALL: Duration = Duration::from_secs(3600);
/// The user of whoever names none to the agent.
const USER: &str = "user";
const ID: u32 = 1000;

/// Where the files come from.
#[derive(Debug, Clone)]
pub enum Root {
    /// A folder, with the owners that its files have.
    Folder(PathBuf),
    /// A tarball, such as a container's exported file system. It takes root.
    Tarball(PathBuf),
    /// Debian's smallest system, by debootstrap(8), with an account called `user`. It takes root.
    Debian {
        /// Its code name, such as `bookworm`; that of this system if absent.
        suite: Option<String>,
        /// Packages besides.
        packages: Vec<String>,
        /// Where they come from; Debian's own place if absent.
        mirror: Option<String>,
    },
}

/// Makes the image, and says what of.
pub(super) fn image(root: &Root, size: u64, image: &Path) -> Result<String> {
    let filled = |contents: &Contents| disk::filled(contents, image, size, Purpose::Root);
    match root {
        Root::Folder(folder) => {
            filled(&Contents::Folder(folder.clone()))?;
            Ok(folder.display().to_string())
        }
        Root::Tarball(tarball) => {
            filled(&Contents::Tarball(tarball.clone()))?;
            Ok(tarball.display().to_string())
        }
        Root::Debian {
            suite,
            packages,
            mirror,
        } => {
            let failed = |error| Error::io("settle the new system", &error);
            let above = image.parent().unwrap_or(Path::new("."));
            let scratch = tempfile::Builder::new()
                .prefix(".debian-")
                .tempdir_in(above);
            let scratch = scratch.map_err(failed)?;
            let root = scratch.path().join("root");
            debootstrap(suite.as_deref(), packages, mirror.as_deref(), &root)?;
            settle(&root).map_err(failed)?;
            let version = fs::read_to_string(root.join("etc/debian_version")).map_err(failed)?;
            filled(&Contents::Folder(root))?;
            let mut words = vec!["Debian", version.trim()];
            words.extend(packages.iter().map(String::as_str));
            Ok(words.join(" "))
        }
    }
}

fn debootstrap(
    suite: Option<&str>,
    packages: &[String],
    mirror: Option<&str>,
    root: &Path,
) -> Result<()> {
    let step = "install a small Debian";
    let mut command = Tool::DEBOOTSTRAP.command()?;
    if !rustix::process::geteuid().is_root() {
        let hint = "run this as root, or give a folder that somebody else has made";
        return Err(Error::rule(step, "only root can").hint(hint));
    }
    let suite = suite.map_or_else(own_suite, |suite| Ok(suite.to_owned()))?;
    for word in packages.iter().map(String::as_str).chain([suite.as_str()]) {
        check(step, word)?;
    }
    command.arg("--variant=minbase");
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    // It knows no end of options, so nothing else may look like one.
    let root = std::path::absolute(root).map_err(|e| Error::io(step, &e))?;
    if let Some(mirror) = mirror.filter(|mirror| !mirror.contains("://")) {
        return Err(Error::rule(step, "a mirror is a URL").on(mirror));
    }
    command.arg(suite).arg(root).args(mirror);
    tool::output(step, command, SAID, INSTALL).map(drop)
}

/// A word of a command line, and of a list with commas.
fn check(step: &str, word: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:".contains(c);
    match word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::rule(step, "there is no package or release of such a name").on(word)),
    }
}

fn own_suite() -> Result<String> {
    let step = "choose a release of Debian";
    let said = fs::read_to_string("/etc/os-release").map_err(|e| Error::io(step, &e))?;
    suite_of(&said).ok_or_else(|| {
        let why = "this system is none";
        Error::rule(step, why).hint("name one, such as bookworm, or give a folder")
    })
}

/// From what os-release(5) describes.
fn suite_of(said: &str) -> Option<String> {
    let value = |key: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

/// What is left of the system that it was made on goes, and the user comes.
fn settle(root: &Path) -> io::Result<()> {
    let archives = root.join("var/cache/apt/archives");
    for entry in fs::read_dir(&archives).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(path)?;
        }
    }
    fs::write(root.join("etc/hostname"), "sandbox\n")?;
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost sandbox\n::1 localhost\n",
    )?;
    fs::write(root.join("etc/resolv.conf"), "")?;
    add(
        root,
        "etc/passwd",
        &format!("{USER}:x:{ID}:{ID}::/home/{USER}:/bin/bash\n"),
    )?;
    add(root, "etc/group", &format!("{USER}:x:{ID}:\n"))?;
    add(root, "etc/shadow", &format!("{USER}:!::0:99999:7:::\n"))?;
    let home = root.join("home").join(USER);
    fs::create_dir(&home)?;
    chown(home, Some(ID), Some(ID))
}

fn add(root: &Path, file: &str, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(root.join(file))?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_this_systems_if_that_is_debian() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(suite_of(debian).as_deref(), Some("bookworm"));
        assert_eq!(suite_of("ID=fedora\nVERSION_CODENAME=x\n"), None);
        assert_eq!(suite_of("VERSION_CODENAME=x\n"), None);
        assert_eq!(suite_of("ID=debian\n"), None);
    }

    #[test]
    fn a_name_is_no_option_and_no_list() {
        for word in ["--foo", "a,b", "", "a b", "../a"] {
            assert!(check("", word).is_err(), "{word}");
        }
        check("", "bookworm").unwrap();
        check("", "libstdc++6").unwrap();
    }

    #[test]
    fn a_new_system_is_nobodys_but_its_users() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc", "home", "var/cache/apt/archives"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["etc/passwd", "etc/group", "etc/shadow"] {
            fs::write(root.path().join(file), "root:x:0:0\n").unwrap();
        }
        let archive = root.path().join("var/cache/apt/archives/a.deb");
        fs::write(&archive, "").unwrap();
        settle(root.path()).unwrap();
        assert!(!archive.exists());
        let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
        assert_eq!(
            passwd,
            "root:x:0:0\nuser:x:1000:1000::/home/user:/bin/bash\n"
        );
        let home = fs::metadata(root.path().join("home/user")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&home), 1000);
    }
}
