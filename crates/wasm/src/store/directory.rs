//! The folder of all canisters, and its one owner.
//!
//! ```text
//!  lock                       held by the owner (flock(2)), with its process id in it
//!  modules/HASH.wasm          modules as they came
//!  modules/HASH.BUILD         the same, compiled by that build of this program
//!  canisters/NAME/            one canister
//!  canisters/.NAME.PID        one that is being made or removed; the next owner removes it
//! ```

use super::{StoreError, disk};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The longest name of a canister.
const LONGEST_NAME: usize = 64;

/// A folder that this process owns.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    is_synced: bool,
    _lock: File,
}

impl Directory {
    /// Takes the folder, which is made if it isn't there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        for folder in [
            path.to_path_buf(),
            path.join("modules"),
            path.join("canisters"),
        ] {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder);
            made.map_err(StoreError::io("make", &folder))?;
        }
        let lock = path.join("lock");
        let io = |tried| StoreError::io(tried, &lock);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(io("open"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            return Err(StoreError::Owned {
                path: path.to_path_buf(),
                owner: owner.trim().to_owned(),
            });
        }
        file.set_len(0).map_err(io("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
        let directory = Self {
            path: path.to_path_buf(),
            is_synced: false,
            _lock: file,
        };
        directory.sweep()?;
        Ok(directory)
    }

    /// From now on, what was made or removed is so after a power cut as well.
    #[must_use]
    pub fn synced(self, is_synced: bool) -> Self {
        Self { is_synced, ..self }
    }

    /// Removes what was being made or removed when an owner died.
    fn sweep(&self) -> Result<(), StoreError> {
        for name in self.entries()? {
            if name.starts_with('.') {
                disk::remove_folder(&self.canisters().join(name))?;
            }
        }
        Ok(())
    }

    fn canisters(&self) -> PathBuf {
        self.path.join("canisters")
    }

    fn entries(&self) -> Result<Vec<String>, StoreError> {
        let path = self.canisters();
        let entries = fs::read_dir(&path).map_err(StoreError::io("list", &path))?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The names of all canisters. What is being made or removed isn't one.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.entries()?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    /// The folder of a canister, whether there is one or not.
    pub fn home(&self, name: &str) -> Result<PathBuf, StoreError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric();
        let is_name = name.len() <= LONGEST_NAME
            && name.starts_with(is_plain)
            && name.chars().all(|c| is_plain(c) || c == '-' || c == '_');
        match is_name {
            true => Ok(self.canisters().join(name)),
            false => Err(StoreError::Name(name.to_owned())),
        }
    }

    /// Makes a folder in which a canister is put together; [`settle`](Self::settle) gives it its name.
    pub fn workshop(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.home(name)?;
        let path = self
            .canisters()
            .join(format!(".{name}.{}", std::process::id()));
        disk::make_folder(&path)?;
        Ok(path)
    }

    /// Gives what was put together its name: from now on it is there.
    pub fn settle(&self, workshop: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let home = self.home(name)?;
        if self.is_synced {
            // What is in it, before its name.
            disk::sync_folder(workshop)?;
            disk::sync_folder(&self.path.join("modules"))?;
        }
        disk::rename(workshop, &home)?;
        self.sync()?;
        Ok(home)
    }

    /// Removes a canister, at once or not at all.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let home = self.home(name)?;
        let gone = self
            .canisters()
            .join(format!(".{name}.{}", std::process::id()));
        disk::rename(&home, &gone)?;
        self.sync()?;
        disk::remove_folder(&gone)
    }

    /// The names of canisters are on the disk.
    fn sync(&self) -> Result<(), StoreError> {
        match self.is_synced {
            true => disk::sync_folder(&self.canisters()),
            false => Ok(()),
        }
    }

    /// Where a module lies, by its hash and what it is: `wasm`, or the build that compiled it.
    #[must_use]
    pub fn module(&self, hash: &str, kind: &str) -> PathBuf {
        self.path.join("modules").join(format!("{hash}.{kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::open(folder.path()).unwrap();
        let said = Directory::open(folder.path()).unwrap_err().to_string();
        assert!(
            said.contains(&format!("process {}", std::process::id())),
            "{said}"
        );
        drop(first);
        Directory::open(folder.path()).unwrap();
    }

    #[test]
    fn names_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            "-a",
            ".a",
            "a.b",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(
                matches!(directory.home(name), Err(StoreError::Name(_))),
                "{name}"
            );
        }
        for name in ["a", "A-1_b", "7", &"a".repeat(64)] {
            assert!(directory.home(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_was_half_made_is_removed_by_the_next_owner() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let half = directory.workshop("half").unwrap();
        fs::write(half.join("file"), "x").unwrap();
        let whole = directory.workshop("whole").unwrap();
        directory.settle(&whole, "whole").unwrap();
        assert_eq!(directory.names().unwrap(), ["whole"]);
        drop(directory);
        let directory = Directory::open(folder.path()).unwrap();
        assert!(!half.exists());
        assert_eq!(directory.names().unwrap(), ["whole"]);
        directory.remove("whole").unwrap();
        assert!(directory.names().unwrap().is_empty());
    }
}
