//! Who is asking, and from where.

use casemate_core::error::{Error, Result};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The caller and the caller's surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The caller's name, or `user` if the uid has none.
    pub(crate) user: String,
    pub(crate) home: Option<PathBuf>,
    /// The home of HOME and that of passwd(5), which may differ.
    pub(crate) homes: Vec<PathBuf>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<OsString, OsString>,
}

impl Host {
    /// Reads it from this process.
    pub(crate) fn read() -> Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let cwd = std::env::current_dir().map_err(|error| {
            Error::io("find the current folder", &error).hint("change to a folder that exists")
        })?;
        let env: BTreeMap<_, _> = std::env::vars_os().collect();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = passwd_entry(&passwd, uid);
        let home = env
            .get(&OsString::from("HOME"))
            .map(PathBuf::from)
            .or(entry.as_ref().map(|e| e.1.clone()));
        let real = |home: PathBuf| {
            let home = Some(home).filter(|home| home.is_absolute() && home != Path::new("/"))?;
            Some(std::fs::canonicalize(&home).unwrap_or(home))
        };
        let home = home.and_then(real);
        let listed = entry.as_ref().and_then(|entry| real(entry.1.clone()));
        let homes = home.clone().into_iter().chain(listed).collect();
        let user = entry.map_or_else(|| "user".to_owned(), |entry| entry.0);
        Ok(Self {
            uid,
            gid,
            user,
            home,
            homes,
            cwd,
            env,
        })
    }

    /// The home folder inside: fresh, and the same for every caller of that name.
    pub(crate) fn inner_home(&self) -> PathBuf {
        Path::new("/home").join(&self.user)
    }

    /// A variable of the caller.
    pub(crate) fn var(&self, name: &str) -> Option<&OsString> {
        self.env.get(&OsString::from(name))
    }
}

/// Name and home of a uid in passwd(5); a name that could leave `/home` is none.
fn passwd_entry(passwd: &str, uid: u32) -> Option<(String, PathBuf)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let (name, home) = (fields.first()?, fields.get(5)?);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let usable = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
        (fields.get(2)?.parse() == Ok(uid) && usable)
            .then(|| ((*name).to_owned(), PathBuf::from(home)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_home() {
        assert_eq!(
            passwd_entry("a:x:7:7::/h:/s", 7),
            Some(("a".into(), "/h".into()))
        );
        assert_eq!(passwd_entry("../a:x:7:7::/h:/s", 7), None);
        assert_eq!(passwd_entry("..:x:7:7::/h:/s", 7), None);
    }
}
