//! What package managers need, where root inside may install (apt(8), dpkg(1)).
//!
//! They find the host's repositories, keys and settings. A file that holds a password stays outside,
//! and so does one that not everybody on the host may read.

use super::Step;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files, and folders of files, of /etc that come in as they are.
const SETTINGS: &[&str] = &[
    "adduser.conf",
    "apt/apt.conf",
    "apt/apt.conf.d",
    "apt/keyrings",
    "apt/preferences",
    "apt/preferences.d",
    "apt/sources.list",
    "apt/sources.list.d",
    "apt/trusted.gpg",
    "apt/trusted.gpg.d",
    "debconf.conf",
    "dpkg/dpkg.cfg",
    "dpkg/dpkg.cfg.d",
    "dpkg/origins",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "login.defs",
];

/// Folders that are expected to be there, and are empty.
const FOLDERS: &[&str] = &[
    "/var/cache/apt/archives/partial",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/lib/apt/lists/partial",
    "/var/lib/misc",
    "/var/log/apt",
    "/var/spool",
];

/// Files of one folder that are looked at.
const MOST: usize = 128;
/// The largest that is a setting.
const LARGEST: u64 = 1 << 20;

/// Downloads aren't another user's: where there is one user, there is no other, and elsewhere the
/// account would have to be made first (apt.conf(5)).
const ONE_USER: &str = "APT::Sandbox::User \"root\";\n";

/// The steps beside those of [`super::etc`].
pub(super) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for name in SETTINGS {
        let path = Path::new("/etc").join(name);
        match path.is_dir() {
            true => steps.extend(settings(&path)),
            false => steps.extend(setting(path)),
        }
    }
    if Path::new("/etc/apt").is_dir() {
        steps.push(Step::File {
            target: "/etc/apt/apt.conf.d/99casemate".into(),
            contents: ONE_USER.into(),
        });
    }
    steps.extend(FOLDERS.iter().map(|target| Step::Private {
        target: target.into(),
        name: "",
        mode: 0o755,
        owner: None,
    }));
    steps
}

fn settings(folder: &Path) -> Vec<Step> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).take(MOST).collect();
    paths.sort();
    paths.into_iter().filter_map(setting).collect()
}

fn setting(path: PathBuf) -> Option<Step> {
    const READABLE_BY_ALL: u32 = 0o004;
    let meta = fs::metadata(&path).ok()?;
    let fits = meta.is_file() && meta.len() <= LARGEST && meta.mode() & READABLE_BY_ALL != 0;
    (fits && !holds_password(&fs::read(&path).ok()?)).then_some(Step::Copy { path })
}

/// A URL with a user in it, as in `https://user:password@host/`.
fn holds_password(text: &[u8]) -> bool {
    // Much of it is keys, in which there is hardly a colon.
    let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let mut rests = colons.filter_map(|(at, _)| text[at + 1..].strip_prefix(b"//"));
    rests.any(|rest| {
        let ends = |c: &u8| matches!(c, b'/' | b'"') || c.is_ascii_whitespace();
        let authority = rest.split(ends).next().unwrap_or_default();
        authority.contains(&b'@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_user_stays_outside() {
        for text in [
            "deb https://me:secret@example.org/debian stable main",
            "Acquire::http::Proxy \"http://me@proxy:3128\";",
        ] {
            assert!(holds_password(text.as_bytes()), "{text}");
        }
        for text in [
            "deb [signed-by=/k] https://example.org/debian stable main # me@example.org",
            "URIs: http://example.org/a@b",
        ] {
            assert!(!holds_password(text.as_bytes()), "{text}");
        }
    }
}
