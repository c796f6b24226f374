//! Every change of the file system that the store makes.
//!
//! What a crash or a power cut leaves can only be tested if each step is known: in tests, what
//! happens below a folder is recorded, and can be stopped at any step ([`trace`]).

#[cfg(test)]
pub(crate) mod power;
#[cfg(test)]
pub(crate) mod trace;

use super::StoreError;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// A file, and what it is called in errors.
#[derive(Debug)]
pub(crate) struct File {
    inner: fs::File,
    path: PathBuf,
}

impl File {
    /// Makes one that isn't there.
    pub(crate) fn make(path: &Path) -> Result<Self, StoreError> {
        #[cfg(test)]
        trace::step(path)?;
        let opened = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path);
        let inner = opened.map_err(StoreError::io("make", path))?;
        #[cfg(test)]
        trace::made(path);
        Ok(Self {
            inner,
            path: path.to_path_buf(),
        })
    }

    /// Opens one to read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::opened(path, fs::File::options().read(true))
    }

    /// Opens one to read and write.
    pub(crate) fn change(path: &Path) -> Result<Self, StoreError> {
        Self::opened(path, fs::File::options().read(true).write(true))
    }

    fn opened(path: &Path, options: &fs::OpenOptions) -> Result<Self, StoreError> {
        let inner = options.open(path).map_err(StoreError::io("open", path))?;
        Ok(Self {
            inner,
            path: path.to_path_buf(),
        })
    }

    /// What it was called when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, tried: &'static str) -> impl FnOnce(std::io::Error) -> StoreError {
        StoreError::io(tried, &self.path)
    }

    /// Its length, bytes.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        let found = self.inner.metadata().map_err(self.io("look at"))?;
        Ok(found.len())
    }

    /// Reads so many bytes from a place on.
    pub(crate) fn read(&self, into: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.inner.read_exact_at(into, at).map_err(self.io("read"))
    }

    /// Writes these bytes to a place.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        #[cfg(test)]
        if let Err(dead) = trace::step(&self.path) {
            // A process that is killed may have written a part.
            let _ = self.inner.write_all_at(&bytes[..bytes.len() / 2], at);
            return Err(dead);
        }
        let written = self.inner.write_all_at(bytes, at);
        written.map_err(self.io("write"))?;
        #[cfg(test)]
        trace::wrote(&self.path, &self.inner, at, bytes);
        Ok(())
    }

    /// Cuts it off.
    pub(crate) fn cut(&self, length: u64) -> Result<(), StoreError> {
        #[cfg(test)]
        trace::step(&self.path)?;
        self.inner.set_len(length).map_err(self.io("cut"))?;
        #[cfg(test)]
        trace::cut(&self.path, &self.inner, length);
        Ok(())
    }

    /// Waits until what was written, and its length, is on the disk (fdatasync(2)).
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        trace::step(&self.path)?;
        #[cfg(test)]
        trace::synced(&self.path, &self.inner);
        self.inner.sync_data().map_err(self.io("sync"))
    }

    /// Gives the disk space of a range back; it reads as zeros afterwards. A file system that can't
    /// keeps it.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), StoreError> {
        #[cfg(test)]
        trace::step(&self.path)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = range.end.saturating_sub(range.start);
        match rustix::fs::fallocate(&self.inner, flags, range.start, length) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(why) => return Err(self.io("free a part of")(why.into())),
        }
        #[cfg(test)]
        trace::punched(&self.path, &self.inner, range);
        Ok(())
    }
}

/// Gives a file or folder another name, in the place of whatever has it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    trace::step(to)?;
    #[cfg(test)]
    let known = trace::known(from);
    fs::rename(from, to).map_err(StoreError::io("name", to))?;
    #[cfg(test)]
    trace::renamed(from, to, known);
    Ok(())
}

/// Removes a file; it's fine if there is none.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    trace::step(path)?;
    match fs::remove_file(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(StoreError::io("remove", path))?,
    }
    #[cfg(test)]
    trace::removed(path);
    Ok(())
}

/// Makes a folder that only this user may enter.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    trace::step(path)?;
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(StoreError::io("make", path))?;
    #[cfg(test)]
    trace::made(path);
    Ok(())
}

/// Removes a folder and what is in it.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    trace::step(path)?;
    fs::remove_dir_all(path).map_err(StoreError::io("remove", path))?;
    #[cfg(test)]
    trace::removed(path);
    Ok(())
}

/// Waits until the names in a folder are on the disk (fsync(2)).
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    #[cfg(test)]
    trace::step(path)?;
    #[cfg(test)]
    trace::synced_folder(path);
    let folder = fs::File::open(path).and_then(|folder| folder.sync_all());
    folder.map_err(StoreError::io("sync", path))
}

/// Writes a file, all of it or nothing.
pub fn write_whole(path: &Path, bytes: &[u8], is_synced: bool) -> Result<(), StoreError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    remove(&draft)?;
    let file = File::make(&draft)?;
    file.write(bytes, 0)?;
    if is_synced {
        file.sync()?;
    }
    rename(&draft, path)?;
    match (is_synced, path.parent()) {
        (true, Some(folder)) => sync_folder(folder),
        _ => Ok(()),
    }
}
