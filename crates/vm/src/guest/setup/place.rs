//! A folder that appears whole or not at all.
//!
//! It is made beside the place it is for, written through to the disk, and then gets its name in
//! one step: the old folder and the new one change places (RENAME_EXCHANGE in renameat2(2)). A
//! machine that loses its power, or a process that is killed, leaves one of the two under the name,
//! and perhaps the other one beside it, which the next one to come here clears away.

use casemate_core::error::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder that has no name yet.
pub(super) struct Place {
    making: TempDir,
    above: PathBuf,
    /// Held for as long as this is: one at a time.
    _lock: File,
}

impl Place {
    /// For `folder`, which is absent, empty, or holds `mark`: nothing else is replaced.
    pub(super) fn beside(folder: &Path, mark: &str) -> Result<Self> {
        let failed = |error: io::Error| Error::io("prepare", &error).on(folder.display());
        let Some(name) = folder.file_name() else {
            return Err(Error::rule("prepare", "it is no name of a folder").on(folder.display()));
        };
        let above = folder
            .parent()
            .filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new(".")).to_owned();
        fs::create_dir_all(&above).map_err(failed)?;
        let start = format!(".{}.", name.display());
        let lock = File::create(above.join(format!("{start}lock"))).map_err(failed)?;
        if let Err(error) = lock.try_lock() {
            let why = format!("another one is at it ({error})");
            return Err(Error::rule("prepare", why).on(folder.display()));
        }
        check(folder, mark)?;
        let new = format!("{start}new-");
        // What others have left: with the lock, nobody is at it.
        for entry in fs::read_dir(&above).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(&new) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        let making = tempfile::Builder::new().prefix(&new).tempdir_in(&above);
        Ok(Self {
            making: making.map_err(failed)?,
            above,
            _lock: lock,
        })
    }

    /// Where to write.
    pub(super) fn folder(&self) -> &Path {
        self.making.path()
    }

    /// Gives it its name.
    pub(super) fn take(self, folder: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::io("put in place", &error).on(folder.display());
        let making = self.making.path();
        synced(making).map_err(failed)?;
        let renamed = match renameat_with(CWD, making, CWD, folder, RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => renameat_with(CWD, making, CWD, folder, RenameFlags::NOREPLACE),
            done => done,
        };
        renamed.map_err(|errno| failed(errno.into()))?;
        File::open(&self.above)
            .and_then(|above| above.sync_all())
            .map_err(failed)
        // What is under the temporary name now is the old one, which goes with it.
    }
}

fn check(folder: &Path, mark: &str) -> Result<()> {
    let foreign = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some() && !folder.join(mark).is_file(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    match foreign {
        false => Ok(()),
        true => {
            let why = format!("there is something else of this name, without {mark}");
            let hint = "name a folder that is not there yet";
            Err(Error::rule("replace", why).on(folder.display()).hint(hint))
        }
    }
}

/// There are only files in it.
fn synced(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    const TARGET: &str = "CASEMATE_TEST_PLACE";

    fn replace(folder: &Path, generation: u32) {
        let place = Place::beside(folder, "mark").unwrap();
        for name in ["mark", "other"] {
            fs::write(place.folder().join(name), generation.to_string()).unwrap();
        }
        place.take(folder).unwrap();
    }

    /// Not a test of its own: what the next one starts and kills.
    #[test]
    fn replaces_until_it_is_killed() {
        let Some(folder) = std::env::var_os(TARGET).map(PathBuf::from) else {
            return;
        };
        for generation in 1.. {
            replace(&folder, generation);
            println!("another");
        }
    }

    #[test]
    fn whoever_is_killed_leaves_one_or_the_other() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("place");
        replace(&folder, 0);
        let name = "guest::setup::place::tests::replaces_until_it_is_killed";
        for round in 0..10_u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(TARGET, &folder)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // It has begun; where it is in a few moments is anybody's guess.
            let mut said = [0; 64];
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut said)
                .unwrap();
            std::thread::sleep(std::time::Duration::from_micros(round * 700));
            child.kill().unwrap();
            child.wait().unwrap();
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(read("mark"), read("other"));
            assert!(!read("mark").is_empty());
        }
        replace(&folder, 0);
        let left = fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(left, 2, "the folder and the lock");
    }

    #[test]
    fn what_others_made_is_not_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("home");
        fs::create_dir(&folder).unwrap();
        replace(&folder, 1);
        fs::remove_file(folder.join("mark")).unwrap();
        let error = Place::beside(&folder, "mark").err().unwrap();
        assert!(error.to_string().contains("without mark"), "{error}");
        fs::write(scratch.path().join("file"), "mine").unwrap();
        assert!(Place::beside(&scratch.path().join("file"), "mark").is_err());
    }

    #[test]
    fn one_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("place");
        let first = Place::beside(&folder, "mark").unwrap();
        assert!(Place::beside(&folder, "mark").is_err());
        drop(first);
        Place::beside(&folder, "mark").unwrap();
    }
}
