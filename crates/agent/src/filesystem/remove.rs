//! Removing a file, or a folder with everything in it.
//!
//! How deep the folders go is up to whoever made them: neither the stack nor the open descriptors
//! may follow. What lies too deep is moved up to the top, where it isn't deep any more.

use crate::fault::{Cause, Fault, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, open, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;

/// Levels that are open at once.
const DEEPEST: usize = 32;
/// How often a folder is emptied that somebody else keeps filling.
const PATIENCE: usize = 16;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes what is at `path`; a link is removed, not what it leads to. Nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fault::invalid(format!(
            "cannot remove '{}'",
            path.display()
        )));
    };
    let parent = match open(parent, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        parent => parent.map_err(|errno| Fault::errno("remove", path, errno))?,
    };
    match entry(parent.as_fd(), name) {
        Err(Errno::NOTEMPTY) => Err(Fault::new(
            Cause::State,
            format!("cannot remove '{}': it is being written to", path.display()),
        )),
        result => result.map_err(|errno| Fault::errno("remove", path, errno)),
    }
}

fn entry(parent: BorrowedFd<'_>, name: &std::ffi::OsStr) -> std::result::Result<(), Errno> {
    let Some(folder) = unlink(parent, name)? else {
        return Ok(());
    };
    let mut top = Top { folder, moved: 0 };
    for _ in 0..PATIENCE {
        top.empty()?;
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Removes a name that isn't a folder; opens it if it is one.
fn unlink<P: rustix::path::Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        // Which of the two a folder is, is up to the file system (unlink(2)).
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => {
            match openat(parent, name, FOLDER, Mode::empty()) {
                Ok(folder) => Ok(Some(folder)),
                Err(Errno::NOENT) => Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => Err(errno),
                Err(other) => Err(other),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// The folder that is emptied, and how many of its depths were moved up into it.
struct Top {
    folder: OwnedFd,
    moved: u64,
}

impl Top {
    fn empty(&mut self) -> std::result::Result<(), Errno> {
        loop {
            let before = self.moved;
            let folder = openat(&self.folder, ".", FOLDER, Mode::empty())?;
            self.below(folder, 0)?;
            if self.moved == before {
                return Ok(());
            }
        }
    }

    /// Removes what is in `folder`, `level` levels below the top.
    fn below(&mut self, folder: OwnedFd, level: usize) -> std::result::Result<(), Errno> {
        // The folder is read by a descriptor and changed by the same one, so that being moved
        // makes no difference.
        for item in Dir::read_from(&folder)? {
            let item = item?;
            let name = item.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Some(child) = unlink(folder.as_fd(), name)? else {
                continue;
            };
            if level == DEEPEST {
                self.lift(folder.as_fd(), name)?;
                continue;
            }
            self.below(child, level + 1)?;
            match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                // Its depths were lifted, or somebody fills it: another round will tell.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Moves a folder up to the top.
    fn lift(&mut self, from: BorrowedFd<'_>, name: &CStr) -> std::result::Result<(), Errno> {
        loop {
            self.moved += 1;
            let lifted = format!(".casemate-removed-{}", self.moved);
            match renameat_with(from, name, &self.folder, lifted, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::remove;
    use crate::fault::Cause;
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    use std::os::unix::fs::symlink;

    #[test]
    fn files_links_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        std::fs::create_dir(path("kept")).unwrap();
        for file in ["a/1", "a/b/2", "kept/3", "file"] {
            std::fs::write(path(file), "").unwrap();
        }
        symlink("../kept", path("a/link")).unwrap();
        symlink("kept", path("link")).unwrap();
        for name in ["a", "link", "file", "file", "none/below"] {
            remove(&path(name)).unwrap();
            assert!(path(name).symlink_metadata().is_err(), "{name}");
        }
        assert!(path("kept/3").exists());
        assert_eq!(remove("/".as_ref()).unwrap_err().cause, Cause::Invalid);
        assert_eq!(remove(&path("kept/3/x")).unwrap_err().cause, Cause::Invalid);
    }

    #[test]
    fn folders_deeper_than_a_path_can_say() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut deep = open(folder.path(), flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            mkdirat(&deep, "deep", Mode::RWXU).unwrap();
            deep = openat(&deep, "deep", flags, Mode::empty()).unwrap();
        }
        remove(&folder.path().join("deep")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
