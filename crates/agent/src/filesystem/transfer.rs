//! Moving a file or folder to another name.
//!
//! A sandbox is made of several mounts, and rename(2) doesn't cross them. Users don't see mounts:
//! what can't be renamed is copied beside its new name, put in place in one step, and removed
//! where it was.

use super::folder::ensure_parent;
use super::owner::Owner;
use super::{copy, remove};
use crate::fault::{Fault, Result};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, lstat, mkdirat, renameat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::Path;

/// Moves `source` to `destination`, over what is there as rename(2) does. Folders that are missing
/// on the way are made.
pub(crate) fn transfer(source: &Path, destination: &Path, owner: Owner) -> Result<()> {
    // Before anything is made.
    lstat(source).map_err(|errno| Fault::errno("move", source, errno))?;
    let (way, name) = ensure_parent(destination, owner)?;
    let folder = way.folder;
    match renameat(CWD, source, &folder, name) {
        Ok(()) => Ok(()),
        Err(Errno::XDEV) => across(source, folder.as_fd(), destination, name),
        // The source was there a moment ago, and a missing one is what NOENT tells.
        Err(Errno::NOENT) => Err(Fault::errno("move", source, Errno::NOENT)),
        Err(Errno::INVAL) => Err(Fault::invalid(format!(
            "cannot move '{}' into itself",
            source.display()
        ))),
        Err(errno) => Err(Fault::errno("move to", destination, errno)),
    }
}

fn across(source: &Path, folder: BorrowedFd<'_>, destination: &Path, name: &OsStr) -> Result<()> {
    let fault = |errno| Fault::errno("move to", destination, errno);
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(fault)?;
    let beside = format!(".casemate-moving-{:016x}", u64::from_ne_bytes(random));
    // Nobody looks into it until it is complete.
    mkdirat(folder, &beside, Mode::RWXU).map_err(fault)?;
    let staging = destination.with_file_name(&beside);
    let copied = copy::copy(source, &staging.join(name)).and_then(|()| {
        renameat(folder, Path::new(&beside).join(name), folder, name).map_err(fault)
    });
    let cleared = remove::remove(&staging);
    copied?;
    remove::remove(source)?;
    cleared
}

#[cfg(test)]
mod tests {
    use super::{Owner, transfer};
    use crate::fault::Cause;
    use std::path::Path;

    const OWNER: Owner = Owner { uid: 0, gid: 0 };

    #[test]
    fn to_a_place_that_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "moved").unwrap();
        transfer(&path("a"), &path("b/c/d"), OWNER).unwrap();
        assert_eq!(std::fs::read(path("b/c/d")).unwrap(), b"moved");
        assert!(!path("a").exists());
    }

    #[test]
    fn what_cannot_be_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("full/below")).unwrap();
        std::fs::create_dir(path("other")).unwrap();
        for (from, to, cause) in [
            ("none", "made/x", Cause::Missing),
            ("full", "full/below/x", Cause::Invalid),
            ("other", "full", Cause::State),
        ] {
            let fault = transfer(&path(from), &path(to), OWNER).unwrap_err();
            assert_eq!(fault.cause, cause, "{fault:?}");
        }
        // A request that can't be done leaves nothing behind.
        assert!(!path("made").exists());
    }

    #[test]
    fn from_one_file_system_to_another() {
        let (here, there) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in("/dev/shm"),
        );
        let Ok(there) = there else {
            eprintln!("skipped: there is no /dev/shm to move to");
            return;
        };
        crossing(here.path(), there.path());
        crossing(there.path(), here.path());
    }

    fn crossing(from: &Path, to: &Path) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
        let tree = from.join("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(tree.join("sub/file"), "content").unwrap();
        std::fs::set_permissions(tree.join("sub/file"), PermissionsExt::from_mode(0o751)).unwrap();
        symlink("sub/file", tree.join("link")).unwrap();
        let before = std::fs::metadata(tree.join("sub/file")).unwrap();
        transfer(&tree, &to.join("new/tree"), OWNER).unwrap();
        assert!(!tree.exists());
        let moved = to.join("new/tree");
        assert_eq!(std::fs::read(moved.join("link")).unwrap(), b"content");
        let after = std::fs::metadata(moved.join("sub/file")).unwrap();
        assert_eq!(
            (after.mode(), after.mtime_nsec()),
            (before.mode(), before.mtime_nsec())
        );
        assert_eq!(std::fs::read_dir(to.join("new")).unwrap().count(), 1);
        std::fs::remove_dir_all(to.join("new")).unwrap();
    }
}
