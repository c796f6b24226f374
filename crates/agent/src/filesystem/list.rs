//! What a folder holds, some levels deep.

use super::entry::{self, Entry, Kind};
use super::owner::Names;
use crate::fault::{Cause, Fault, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Entries of one answer; it is held in memory as a whole.
const MOST: usize = 100_000;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The entries below `path`, `depth` levels deep, each folder before what it holds and otherwise
/// by name. A link to a folder is followed if it is `path` itself, and listed if it is below.
pub(crate) fn list(path: &Path, depth: u32) -> Result<Vec<Entry>> {
    let fault = |errno| Fault::errno("list", path, errno);
    if entry::kind(path).map_err(fault)? != Kind::Folder {
        let path = path.display();
        return Err(Fault::invalid(format!("path '{path}' is not a directory")));
    }
    let root = open(path, FOLDER, Mode::empty()).map_err(fault)?;
    let mut listing = Listing {
        path,
        names: Names::read(),
        entries: Vec::new(),
        seen: 0,
        root,
    };
    let mut open = vec![listing.folder(PathBuf::new())?];
    while let Some(folder) = open.last_mut() {
        let Some(name) = folder.rest.pop() else {
            open.pop();
            continue;
        };
        let below = folder.path.join(name);
        let is_folder = listing.look(&below)?;
        if is_folder && open.len() < depth.max(1) as usize {
            open.push(listing.folder(below)?);
        }
    }
    Ok(listing.entries)
}

struct Listing<'a> {
    path: &'a Path,
    root: OwnedFd,
    names: Names,
    entries: Vec<Entry>,
    seen: usize,
}

/// A folder that is being listed: where it is below the root, and the names that are left, the
/// next one last.
struct Folder {
    path: PathBuf,
    rest: Vec<OsString>,
}

impl Listing<'_> {
    /// Reads the names in the folder at `below`.
    fn folder(&mut self, below: PathBuf) -> Result<Folder> {
        let rest = self.read(&below);
        let mut rest = match rest {
            // It is gone, has become something else, or isn't ours to read: it was listed.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS)
                if !below.as_os_str().is_empty() =>
            {
                Vec::new()
            }
            rest => rest.map_err(|errno| Fault::errno("list", &self.path.join(&below), errno))?,
        };
        self.seen += rest.len();
        if self.seen > MOST {
            return Err(Fault::new(
                Cause::Bound,
                format!(
                    "'{}' holds more than {MOST} entries; list fewer levels or a folder in it",
                    self.path.display()
                ),
            ));
        }
        rest.sort_unstable_by(|left, right| right.cmp(left));
        Ok(Folder { path: below, rest })
    }

    fn read(&self, below: &Path) -> std::result::Result<Vec<OsString>, Errno> {
        let folder = match below.as_os_str().is_empty() {
            true => openat(&self.root, ".", FOLDER, Mode::empty())?,
            false => openat(&self.root, below, FOLDER | OFlags::NOFOLLOW, Mode::empty())?,
        };
        let mut names = Vec::new();
        for item in Dir::new(folder)? {
            let name = item?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
            if self.seen + names.len() > MOST {
                break;
            }
        }
        Ok(names)
    }

    /// Adds an entry; true if it is a folder.
    fn look(&mut self, below: &Path) -> Result<bool> {
        let path = self.path.join(below);
        match statat(self.root.as_fd(), below, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => {
                self.entries.push(Entry::new(&path, &found, &self.names));
                Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Fault::errno("look at", &path, errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::list;
    use crate::fault::Cause;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn paths(root: &Path, depth: u32) -> Vec<String> {
        let strip = |path: String| path.strip_prefix(root.to_str().unwrap()).map(str::to_owned);
        let entries = list(root, depth).unwrap();
        entries
            .into_iter()
            .map(|e| strip(e.path).unwrap())
            .collect()
    }

    #[test]
    fn levels_in_order_and_links_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("b/c/d")).unwrap();
        std::fs::write(root.join("a"), "").unwrap();
        std::fs::write(root.join("b/z"), "").unwrap();
        symlink("b", root.join("link")).unwrap();
        symlink("root", folder.path().join("to")).unwrap();
        assert_eq!(paths(&root, 0), ["/a", "/b", "/link"]);
        assert_eq!(paths(&root, 1), ["/a", "/b", "/link"]);
        assert_eq!(paths(&root, 2), ["/a", "/b", "/b/c", "/b/z", "/link"]);
        let all = ["/a", "/b", "/b/c", "/b/c/d", "/b/z", "/link"];
        assert_eq!(paths(&root, u32::MAX), all);
        // The name that was asked for stays the name.
        assert_eq!(paths(&folder.path().join("to"), 9), all);
    }

    #[test]
    fn what_has_no_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, cause) in [
            ("none", Cause::Missing),
            ("file", Cause::Invalid),
            ("loop", Cause::State),
        ] {
            assert_eq!(list(&path(name), 1).unwrap_err().cause, cause);
        }
    }
}
