//! Where a sandbox is written down: a folder of its own, which only its owner may enter.
//!
//! | name | what |
//! |---|---|
//! | `launch.json` | what the keeper was started with |
//! | `keeper.json` | which process it is, once it answers |
//! | `owned.json` | its id, once it is somebody's |
//! | `control.sock` | where it answers |
//! | `agent.sock` | where the agent does |
//! | `log` | what either of them had to say |
//! | `machine` | the files of a virtual machine, if it is one: memory, disks |
//! | `base` | what that began as: files that others may have, too |
//! | `asleep.json` | what is kept of one that rests on disk |
//! | `waking.json` | the same, while it is being continued |
//!
//! The folder is there before the first process is, and goes after the last one, so whatever a
//! crash leaves behind can be found.

use casemate_core::error::{Error, Result};
use casemate_core::sandbox::SandboxId;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The keeper's socket.
pub const CONTROL: &str = "control.sock";
/// The agent's.
pub const AGENT: &str = "agent.sock";
pub(crate) const LAUNCH: &str = "launch.json";
pub(crate) const KEEPER: &str = "keeper.json";
/// Whose it is: without it, a sandbox is one that nobody was given.
pub(crate) const OWNED: &str = "owned.json";
pub(crate) const LOG: &str = "log";
/// What a machine began as.
pub(crate) const BASE: &str = "base";
/// It rests on disk, and nothing of it runs.
pub(crate) const ASLEEP: &str = "asleep.json";
/// It did, and is being continued.
pub(crate) const WAKING: &str = "waking.json";
/// The files of a virtual machine.
pub(crate) const MACHINE: &str = "machine";

/// Bytes of the log that make last words: a kernel's are long.
const WORDS: usize = 8000;

/// The folder of all sandboxes of a node.
#[derive(Debug, Clone)]
pub struct Folders(PathBuf);

/// The folder of one.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folders {
    /// Makes it, or takes the one that is there if nobody else may enter it.
    ///
    /// # Errors
    /// It can't be made, or it is somebody else's.
    pub fn open(path: &Path) -> Result<Self> {
        let step = "use as the folder of the sandboxes";
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Error::io(step, &error).on(path.display()))?;
        let meta =
            std::fs::metadata(path).map_err(|error| Error::io(step, &error).on(path.display()))?;
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        if !own || meta.mode() & 0o077 != 0 {
            return Err(Error::rule(step, "others may enter it")
                .on(path.display())
                .hint("chmod 700, or give another --data DIR"));
        }
        Ok(Self(path.to_owned()))
    }

    /// A sandbox's folder, which may not be there.
    pub fn of(&self, id: &SandboxId) -> Folder {
        Folder(self.0.join(id.as_str()))
    }

    /// The sandboxes that have one.
    pub fn list(&self) -> Vec<SandboxId> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }
}

impl Folder {
    /// A folder by its path, as a keeper gets it.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it.
    pub(crate) fn create(&self) -> Result<()> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| Error::io("make a sandbox's folder", &error).on(self.0.display()))
    }

    /// Opens it.
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&self.0, flags, Mode::empty()).map_err(|errno| {
            Error::errno("open a sandbox's folder", errno.raw_os_error()).on(self.0.display())
        })
    }

    /// The folder of another sandbox of the same node.
    pub(crate) fn beside(&self, id: &SandboxId) -> Self {
        Self(self.0.with_file_name(id.as_str()))
    }

    /// Gives it another name.
    pub(crate) fn rename(&self, to: &Self) -> Result<()> {
        std::fs::rename(&self.0, &to.0)
            .map_err(|error| Error::io("name a sandbox's folder", &error).on(to.0.display()))
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) {
        // What can't be removed now is found again.
        let _ = std::fs::remove_dir_all(&self.0);
    }

    /// Waits until all of its file system is on disk, as far as that is possible.
    pub(crate) fn flush(&self) {
        if let Ok(folder) = std::fs::File::open(&self.0) {
            let _ = rustix::fs::syncfs(folder);
        }
    }

    /// Opens the log.
    pub(crate) fn log(&self) -> Result<std::fs::File> {
        let path = self.0.join(LOG);
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io("open a sandbox's log", &error).on(path.display()))
    }

    /// The end of the log, for an error.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(self.0.join(LOG)).unwrap_or_default();
        let end = &text[text.len().saturating_sub(WORDS)..];
        String::from_utf8_lossy(end).trim().to_owned()
    }

    /// Writes a file whole or not at all.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.0.join(name);
        let fail = |error: &std::io::Error| Error::io("write", error).on(path.display());
        let text = serde_json::to_vec(value).map_err(|error| fail(&error.into()))?;
        let draft = self.0.join(format!("{name}.new"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|error| fail(&error))?;
        std::io::Write::write_all(&mut file, &text).map_err(|error| fail(&error))?;
        std::fs::rename(&draft, &path).map_err(|error| fail(&error))
    }

    /// Whether there is a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Calls a file by another name.
    pub(crate) fn call(&self, name: &str, other: &str) -> Result<()> {
        let path = self.0.join(name);
        std::fs::rename(&path, self.0.join(other))
            .map_err(|error| Error::io("rename", &error).on(path.display()))
    }

    /// Removes a file, if it is there.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &error).on(path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Reads it back.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.0.join(name);
        let fail = |error: &std::io::Error| Error::io("read", error).on(path.display());
        let text = std::fs::read(&path).map_err(|error| fail(&error))?;
        serde_json::from_slice(&text).map_err(|error| fail(&error.into()))
    }
}
