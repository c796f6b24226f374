//! What was written of sandboxes: a folder each, by its id.
//!
//! Who runs a machine writes it among the machine's own files, behind the wall, and it is moved here
//! from there. What is inside is that process's word, and is read by others like it, behind walls of
//! their own; here nothing of it is opened.

use super::base;
use casemate_core::error::{Error, Result};
use casemate_core::node::Refusal;
use casemate_core::sandbox::SnapshotId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Snapshots(PathBuf);

impl Snapshots {
    /// Makes the folder, if it isn't there. What was being made or removed is removed.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(|error| Error::io("make", &error).on(path.display()))?;
        let snapshots = Self(path.to_owned());
        for entry in snapshots.entries() {
            if entry.starts_with(PAST) || entry.starts_with(DRAFT) {
                let _ = fs::remove_dir_all(path.join(entry));
            }
        }
        Ok(snapshots)
    }

    /// Takes one over that was written of a machine which began as `base`.
    pub(super) fn take(&self, written: &Path, base: &Path, name: &SnapshotId) -> Result<()> {
        let fail = |error: &std::io::Error| Error::io("keep a snapshot", error).on(name);
        // Where it lies now, somebody might change it, or put a link in its place.
        let draft = self.0.join(format!("{DRAFT}{name}"));
        let moved = |from: &Path, to: &Path| {
            renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
                .map_err(|errno| fail(&errno.into()))
        };
        moved(written, &draft)?;
        let is = fs::symlink_metadata(&draft).map_err(|error| fail(&error))?;
        if !is.is_dir() {
            let _ = fs::remove_file(&draft);
            return Err(Error::rule("keep a snapshot", "it is no folder").on(name));
        }
        let kept = base::complete(&draft, base).and_then(|()| moved(&draft, &self.path(name)));
        if kept.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        kept
    }

    /// Where one is.
    pub(super) fn find(&self, name: &SnapshotId) -> Result<PathBuf> {
        let path = self.path(name);
        match path.is_dir() {
            true => Ok(path),
            false => Err(Error::rule("find a snapshot", "it isn't there").on(name)),
        }
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<SnapshotId> {
        let names = self.entries();
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Removes one. It is none any more before the first of its files goes.
    pub(super) fn remove(&self, name: &SnapshotId) -> Result<(), Refusal> {
        let past = self.0.join(format!("{PAST}{name}"));
        let fail = |error: &std::io::Error| Error::io("remove a snapshot", error).on(name);
        match fs::rename(self.path(name), &past) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fail(&error).into()),
            Ok(()) => Ok(fs::remove_dir_all(&past).map_err(|error| fail(&error))?),
        }
    }

    fn path(&self, name: &SnapshotId) -> PathBuf {
        self.0.join(name.as_str())
    }

    fn entries(&self) -> impl Iterator<Item = String> + use<> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    }
}

/// What is being removed begins with this,
const PAST: &str = "past-";
/// and what is being made with that.
const DRAFT: &str = "new-";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(byte: u8) -> SnapshotId {
        SnapshotId::of([byte; 20])
    }

    #[test]
    fn what_was_written_is_kept_until_it_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(&place.path().join("snapshots")).unwrap();
        let written = place.path().join("written");
        fs::create_dir(&written).unwrap();
        fs::write(written.join("state"), "it").unwrap();
        snapshots
            .take(&written, &place.path().join("base"), &name(1))
            .unwrap();
        assert!(!written.exists());
        assert_eq!(snapshots.list(), [name(1)]);
        let found = snapshots.find(&name(1)).unwrap();
        assert_eq!(fs::read(found.join("state")).unwrap(), b"it");
        snapshots.remove(&name(1)).unwrap();
        snapshots.remove(&name(1)).unwrap();
        assert_eq!((snapshots.list(), snapshots.entries().count()), (vec![], 0));
        snapshots.find(&name(1)).unwrap_err();
    }

    #[test]
    fn a_link_in_its_place_is_not_kept() {
        let place = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(&place.path().join("snapshots")).unwrap();
        let written = place.path().join("written");
        std::os::unix::fs::symlink("/etc", &written).unwrap();
        snapshots
            .take(&written, &place.path().join("base"), &name(1))
            .unwrap_err();
        assert_eq!(snapshots.list(), []);
    }

    #[test]
    fn what_was_being_removed_is_gone_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("snapshots");
        let snapshots = Snapshots::open(&folder).unwrap();
        for kind in [PAST, DRAFT] {
            fs::create_dir(folder.join(format!("{kind}{}", name(1)))).unwrap();
        }
        assert_eq!(snapshots.list(), []);
        let snapshots = Snapshots::open(&folder).unwrap();
        assert_eq!(snapshots.entries().count(), 0);
    }
}
