//! `client.json`: where a server on this machine is and its first key, for its owner alone.
//!
//! A server writes it in its data folder at its first start, so that the same user's commands need
//! no variable. It is read only if nobody else can have written it or read it. And since a port
//! belongs to whoever binds it first, its key is shown only to a server that is the same user's:
//! the [`Site`](super::http::Site) asks the kernel whose the port is.

use casemate_core::error::{Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use zeroize::Zeroize;

const NAME: &str = "client.json";
const DRAFT: &str = "client.json.new";
/// Bytes of the file; ours has some hundred.
const LONGEST: u64 = 4096;

/// What is in the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct ClientFile {
    /// The server's URL.
    pub(crate) url: String,
    /// The URL of its sandboxes, if it's another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sandboxes: Option<String>,
    /// Where the server is, if the names in its URLs needn't be known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<SocketAddr>,
    /// The file with the certificate of its own authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<PathBuf>,
    /// An API key.
    pub(crate) key: String,
}

impl Drop for ClientFile {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ClientFile {
    /// Writes it whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let step = "write the file that clients read";
        let fail = |errno: Errno| {
            Error::errno(step, errno.raw_os_error())
                .on(folder.join(NAME).display())
                .hint("--no-client-file leaves it out")
        };
        let text = serde_json::to_vec(self).unwrap_or_default();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = open(folder, flags, Mode::empty()).map_err(fail)?;
        // One that was left half written.
        let _ = unlinkat(&place, DRAFT, rustix::fs::AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(openat(&place, DRAFT, flags, mode).map_err(fail)?);
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(|error| Error::io(step, &error).on(folder.join(DRAFT).display()))?;
        renameat(&place, DRAFT, &place, NAME).map_err(fail)
    }

    /// Reads it; `None` if there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let step = "use the file of the server on this machine";
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(CWD, &path, flags, Mode::empty()) {
            // Another user's folder may hold one, which is none of ours.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
            other => other
                .map_err(|errno| Error::errno(step, errno.raw_os_error()).on(path.display()))?,
        };
        let found = fstat(&file)
            .map_err(|errno| Error::errno(step, errno.raw_os_error()).on(path.display()))?;
        let own = found.st_uid == rustix::process::geteuid().as_raw();
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !own || !regular || found.st_mode & 0o077 != 0 {
            let why = "somebody else may have written it, or may read it";
            return Err(Error::rule(step, why)
                .on(path.display())
                .hint("chown it to yourself and chmod 600 if it is yours; else set E2B_API_KEY"));
        }
        let mut text = Vec::new();
        File::from(file)
            .take(LONGEST)
            .read_to_end(&mut text)
            .map_err(|error| Error::io(step, &error).on(path.display()))?;
        let read = serde_json::from_slice(&text);
        text.zeroize();
        let read = read.map_err(|error| Error::rule(step, error.to_string()).on(path.display()))?;
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::ClientFile;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file() -> ClientFile {
        ClientFile {
            url: "http://127.0.0.1:1".into(),
            key: "e2b_x".into(),
            sandboxes: None,
            address: None,
            authority: Some("/a/b.pem".into()),
        }
    }

    #[test]
    fn it_is_read_back_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ClientFile::read(folder.path()).unwrap().is_none());
        file().write(folder.path()).unwrap();
        file().write(folder.path()).unwrap();
        let path = folder.path().join("client.json");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = ClientFile::read(folder.path()).unwrap().unwrap();
        assert_eq!((&*read.url, &*read.key), ("http://127.0.0.1:1", "e2b_x"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_others_may_read_or_lead_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        file().write(folder.path()).unwrap();
        let path = folder.path().join("client.json");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(ClientFile::read(folder.path()).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&path, folder.path().join("real")).unwrap();
        symlink("real", &path).unwrap();
        assert!(ClientFile::read(folder.path()).is_err());
    }
}
