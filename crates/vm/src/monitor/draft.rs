//! A snapshot's folder in the making: it is there whole or not at all.

use casemate_core::error::{Error, Result};
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Waits until a file or folder is on disk.
fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", &error).on(path.display()))
}

/// A folder in the making; it is removed unless it is finished.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
    wanted: PathBuf,
    is_done: bool,
}

impl Draft {
    pub(crate) fn begin(wanted: &Path) -> Result<Self> {
        let fail = |why: &str| Error::rule("make the snapshot's folder", why).on(wanted.display());
        if wanted.symlink_metadata().is_ok() {
            return Err(fail("there is one already"));
        }
        let (Some(above), Some(name)) = (wanted.parent(), wanted.file_name()) else {
            return Err(fail("it has no name"));
        };
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(".new");
        let path = above.join(draft);
        // What one that was interrupted has left.
        let _ = fs::remove_dir_all(&path);
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
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
