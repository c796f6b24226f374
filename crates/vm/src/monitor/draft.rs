//! A folder in the making: it is there under its name once all of it is on disk.

use casemate_core::error::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// It is removed unless it is finished.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
    wanted: PathBuf,
    is_done: bool,
}

impl Draft {
    /// Of a folder that isn't there yet.
    pub(crate) fn begin(wanted: &Path) -> Result<Self> {
        if wanted.symlink_metadata().is_ok() {
            let why = "there is one already";
            return Err(Error::rule("make the snapshot's folder", why).on(wanted.display()));
        }
        Self::beside(wanted, "new")
    }

    /// Of one that takes the place of another, or is new.
    pub(crate) fn beside(wanted: &Path, ending: &str) -> Result<Self> {
        let path = clear(wanted, ending)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io("make", &error).on(path.display()))?;
        Ok(Self {
            path,
            wanted: wanted.to_owned(),
            is_done: false,
        })
    }

    /// Waits until all that is in it is on disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let fail = |error: &std::io::Error| Error::io("read", error).on(self.path.display());
        for entry in fs::read_dir(&self.path).map_err(|error| fail(&error))? {
            sync(&entry.map_err(|error| fail(&error))?.path())?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        sync(&self.path)?;
        // It doesn't take the place of one that has something in it.
        fs::rename(&self.path, &self.wanted)
            .map_err(|error| Error::io("finish", &error).on(self.wanted.display()))?;
        self.is_done = true;
        sync(self.wanted.parent().unwrap_or(Path::new("/")))
    }

    /// Changes places with the other one, which is removed then.
    pub(crate) fn replace(self) -> Result<()> {
        sync(&self.path)?;
        renameat_with(CWD, &self.path, CWD, &self.wanted, RenameFlags::EXCHANGE)
            .map_err(|errno| Error::io("replace", &errno.into()).on(self.wanted.display()))?;
        // What is dropped is the other one.
        sync(self.wanted.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what one that was interrupted has left; where that would be.
pub(crate) fn clear(wanted: &Path, ending: &str) -> Result<PathBuf> {
    let (Some(above), Some(name)) = (wanted.parent(), wanted.file_name()) else {
        let why = "it has no name";
        return Err(Error::rule("make the snapshot's folder", why).on(wanted.display()));
    };
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(format!(".{ending}"));
    let path = above.join(draft);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &error).on(path.display()))
        }
        _ => Ok(path),
    }
}

/// Waits until a file or folder is on disk.
fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", &error).on(path.display()))
}
