//! One file as clients are told about it.

use super::metadata::{self, Metadata};
use super::mode::letters;
use super::owner::Names;
use crate::fault::{Fault, Result};
use rustix::fs::{AtFlags, CWD, FileType, Stat, lstat, stat, statat};
use rustix::io::Errno;
use std::path::Path;

/// What an entry is, once links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A device, a pipe, a socket, or a link to nothing.
    Other,
}

/// One file. A link tells its own size, permissions, owner and time, and its target's kind and
/// mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) size: i64,
    /// The nine permission bits.
    pub(crate) mode: u32,
    pub(crate) permissions: String,
    pub(crate) owner: String,
    pub(crate) group: String,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) modified: (i64, i32),
    /// Where a link leads in the end, or what it says if that doesn't exist.
    pub(crate) symlink_target: Option<String>,
    pub(crate) metadata: Metadata,
}

impl Entry {
    /// Looks at `path`.
    pub(crate) fn at(path: &Path, names: &Names) -> Result<Self> {
        let found = lstat(path).map_err(|errno| Fault::errno("look at", path, errno))?;
        Ok(Self::new(path, &found, names))
    }

    /// What lstat(2) found at `path`, with what else can still be learnt about it.
    pub(crate) fn new(path: &Path, found: &Stat, names: &Names) -> Self {
        let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
        let symlink_target = is_link.then(|| target(path));
        let followed = match is_link {
            true => stat(path).ok(),
            false => Some(*found),
        };
        let mode = followed.map_or(0, |followed| followed.st_mode);
        Self {
            name: text(path.file_name().map_or(path, Path::new)),
            kind: match followed.map(|_| FileType::from_raw_mode(mode)) {
                Some(FileType::RegularFile) => Kind::File,
                Some(FileType::Directory) => Kind::Folder,
                _ => Kind::Other,
            },
            path: text(path),
            size: found.st_size,
            mode: mode & 0o777,
            permissions: letters(found.st_mode),
            owner: names.user(found.st_uid),
            group: names.group(found.st_gid),
            modified: (
                found.st_mtime,
                i32::try_from(found.st_mtime_nsec).unwrap_or(0),
            ),
            symlink_target,
            metadata: metadata::read(path),
        }
    }
}

/// Whether something is at `path`, links followed, and what.
pub(crate) fn kind(path: &Path) -> std::result::Result<Kind, Errno> {
    let found = statat(CWD, path, AtFlags::empty())?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    })
}

fn target(path: &Path) -> String {
    let target = std::fs::canonicalize(path).or_else(|_| std::fs::read_link(path));
    text(&target.unwrap_or_default())
}

/// Names are bytes; clients read text. What isn't UTF-8 is shown with replacement characters.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Entry, Kind, Names};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "four").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let names = Names::read();
        let entry = Entry::at(&path, &names).unwrap();
        assert_eq!((entry.name.as_str(), entry.size), ("a.txt", 4));
        assert_eq!((entry.kind, entry.mode), (Kind::File, 0o640));
        assert_eq!(entry.permissions, "-rw-r-----");
        assert_eq!(entry.owner, names.user(rustix::process::geteuid().as_raw()));
        assert_eq!(entry.symlink_target, None);
        let entry = Entry::at(folder.path(), &names).unwrap();
        assert_eq!(entry.kind, Kind::Folder);
        assert_eq!(Entry::at("/".as_ref(), &names).unwrap().name, "/");
    }

    #[test]
    fn links_tell_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("d")).unwrap();
        let names = Names::read();
        for (link, target, kind, leads) in [
            ("up", "d", Kind::Folder, folder.join("d")),
            ("lost", "nowhere", Kind::Other, "nowhere".into()),
            ("loop", "loop", Kind::Other, "loop".into()),
        ] {
            symlink(target, folder.join(link)).unwrap();
            let entry = Entry::at(&folder.join(link), &names).unwrap();
            assert_eq!((entry.kind, entry.name.as_str()), (kind, link));
            assert_eq!(entry.symlink_target.as_deref(), leads.to_str());
            assert_eq!(entry.permissions, "Lrwxrwxrwx");
        }
    }
}
