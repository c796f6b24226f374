//! Folders that are made on the way to a path.

use super::entry::{self, Kind};
use super::owner::Owner;
use crate::fault::{Cause, Fault, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Component, Path};

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder that was reached.
pub(crate) struct Reached {
    pub(crate) folder: OwnedFd,
    /// No symbolic link led there.
    pub(crate) straight: bool,
}

/// Opens the folder at `path`; what is missing of it is made, 0755 and `owner`'s.
///
/// Each step starts from the folder of the last one, so a folder that is moved away meanwhile
/// takes what is made in it along, and nothing that existed changes hands.
fn ensure(path: &Path, owner: Owner) -> Result<Reached> {
    let fault = |errno| Fault::errno("make folder", path, errno);
    let mut reached = Reached {
        folder: open("/", FOLDER, Mode::empty()).map_err(fault)?,
        straight: true,
    };
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            _ => continue,
        };
        reached = match reached.step(name) {
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0o755);
                match owner.makes(|| mkdirat(&reached.folder, name, mode)) {
                    // Somebody else was faster, which is as good.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(fault(errno)),
                }
                reached.step(name)
            }
            next => next,
        }
        .map_err(fault)?;
    }
    Ok(reached)
}

impl Reached {
    /// The folder of that name in this one.
    fn step(&self, name: &OsStr) -> std::result::Result<Self, Errno> {
        let open = |flags| openat(&self.folder, name, flags, Mode::empty());
        match open(FOLDER | OFlags::NOFOLLOW) {
            Ok(folder) => Ok(Self {
                folder,
                straight: self.straight,
            }),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(Self {
                folder: open(FOLDER)?,
                straight: false,
            }),
            Err(errno) => Err(errno),
        }
    }
}

/// Opens the folder that `path` lies in, making what is missing, and names the last part.
pub(crate) fn ensure_parent(path: &Path, owner: Owner) -> Result<(Reached, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((ensure(parent, owner)?, name)),
        _ => Err(Fault::errno("write", path, Errno::ISDIR)),
    }
}

/// Makes a folder, which must not exist.
pub(crate) fn make(path: &Path, owner: Owner) -> Result<()> {
    match entry::kind(path) {
        Ok(Kind::Folder) => Err(Fault::new(
            Cause::Exists,
            format!("directory '{}' already exists", path.display()),
        )),
        Ok(_) => Err(Fault::invalid(format!(
            "path '{}' exists and is not a directory",
            path.display()
        ))),
        Err(Errno::NOENT) => ensure(path, owner).map(drop),
        Err(errno) => Err(Fault::errno("make folder", path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner, make};
    use crate::fault::Cause;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn what_is_missing_is_made_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::process::geteuid().is_root();
        let owner = Owner {
            uid: 1234,
            gid: 4321,
        };
        make(&folder.path().join("a/b/c"), owner).unwrap();
        for part in ["a", "a/b", "a/b/c"] {
            let made = std::fs::metadata(folder.path().join(part)).unwrap();
            assert_eq!(made.mode() & 0o777, 0o755);
            assert!(!root || (made.uid(), made.gid()) == (1234, 4321));
        }
        let kept = std::fs::metadata(folder.path()).unwrap();
        assert_ne!(kept.uid(), 1234);
    }

    #[test]
    fn what_is_there_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let owner = Owner { uid: 0, gid: 0 };
        std::fs::write(path("file"), "").unwrap();
        symlink("nowhere", path("lost")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, cause) in [
            ("", Cause::Exists),
            ("file", Cause::Invalid),
            ("file/below", Cause::Invalid),
            ("lost", Cause::Missing),
            ("loop", Cause::State),
            (&"n".repeat(300), Cause::Invalid),
        ] {
            assert_eq!(make(&path(name), owner).unwrap_err().cause, cause, "{name}");
        }
    }
}
