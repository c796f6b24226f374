//! An archive that comes out of a sandbox, unpacked beneath one folder.
//!
//! Whoever made it wishes us ill. Each name is walked from the folder on without following any
//! link, and what is in the place of a file is replaced, never written through. Left out are links
//! that lead out of the folder, since somebody would follow them later, and what is neither a file,
//! a folder nor a link. Set-uid bits and owners don't count. What an archive may say about an entry
//! is bounded: names and numbers, no megabytes.

use bytes::{Buf as _, Bytes};
use casemate_core::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

/// Bytes between one file's contents and the next's: heads, long names.
const BETWEEN: u64 = 1 << 20;
/// Names of one path.
const DEEPEST: usize = 256;

const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Unpacks into a folder, which is made if it isn't there. The number of entries left out.
pub(super) fn unpack(pieces: mpsc::Receiver<Vec<u8>>, into: &Path) -> Result<u64> {
    let fail = |error: &io::Error| Error::io("unpack into", error).on(into.display());
    match std::fs::create_dir(into) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(&error)),
        _ => {}
    }
    // A link to a folder is what the caller named.
    let flags = FOLDER.difference(OFlags::NOFOLLOW);
    let root = openat(CWD, into, flags, Mode::empty()).map_err(|errno| fail(&errno.into()))?;
    let left = Rc::new(Cell::new(BETWEEN));
    let mut archive = Archive::new(Rationed {
        pieces,
        piece: Bytes::new(),
        left: Rc::clone(&left),
    });
    let entries = archive.entries().map_err(|error| fail(&error))?;
    let mut left_out = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| fail(&error))?;
        left.set(entry.size().saturating_add(BETWEEN));
        if !put(&root, &mut entry).map_err(|error| fail(&error))? {
            left_out += 1;
        }
        // Contents that nobody wanted are read all the same, as what they are.
        io::copy(&mut entry, &mut io::sink()).map_err(|error| fail(&error))?;
        left.set(BETWEEN);
    }
    Ok(left_out)
}

/// What is read, as long as no more of it comes than may.
struct Rationed {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Bytes,
    left: Rc<Cell<u64>>,
}

impl Read for Rationed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece.into(),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        let left = self.left.get().checked_sub(count as u64);
        let left = left.ok_or_else(|| io::Error::other("an entry of the archive is too long"))?;
        self.left.set(left);
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Puts one entry where it belongs; false if it is left out.
fn put<R: Read>(root: &OwnedFd, entry: &mut Entry<'_, R>) -> io::Result<bool> {
    let Some(mut path) = names(&entry.path()?) else {
        return Err(io::Error::other("a name in the archive leads out of it"));
    };
    let Some(name) = path.pop() else {
        // The folder itself.
        return Ok(true);
    };
    let place = walk(root, &path)?;
    let mode = entry.header().mode()? & 0o777;
    match entry.header().entry_type() {
        EntryType::Directory => match mkdirat(&place, &name, Mode::from_raw_mode(mode | 0o700)) {
            Err(Errno::EXIST) => openat(&place, &name, FOLDER, Mode::empty()).map(drop)?,
            other => other?,
        },
        EntryType::Regular | EntryType::Continuous => {
            clear(&place, &name)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&place, &name, flags, Mode::from_raw_mode(mode | 0o200))?;
            io::copy(entry, &mut File::from(file))?;
        }
        EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            if !stays(&target, path.len()) {
                return Ok(false);
            }
            clear(&place, &name)?;
            symlinkat(&target, &place, &name)?;
        }
        EntryType::Link => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            let Some(mut target) = names(&target) else {
                return Ok(false);
            };
            let Some(other) = target.pop() else {
                return Ok(false);
            };
            let other_place = walk(root, &target)?;
            clear(&place, &name)?;
            linkat(&other_place, &other, &place, &name, AtFlags::empty())?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The names of a path that leads down only.
fn names(path: &Path) -> Option<Vec<OsString>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (names.len() <= DEEPEST).then_some(names)
}

/// Whether a link in a folder of this depth stays beneath the root. It may go up only at its
/// beginning: after a name it could be a link's target that it goes up from.
fn stays(target: &Path, depth: usize) -> bool {
    let mut up = 0;
    let mut down = false;
    for part in target.components() {
        match part {
            Component::ParentDir if down => return false,
            Component::ParentDir => up += 1,
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    up <= depth
}

/// The folder with these names, made where it isn't there.
fn walk(root: &OwnedFd, names: &[OsString]) -> io::Result<OwnedFd> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let open = |path: &Path| openat2(root, path, FOLDER, Mode::empty(), beneath);
    let whole: PathBuf = Path::new(".").join(names.iter().collect::<PathBuf>());
    match open(&whole) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let mut path = PathBuf::from(".");
    for name in names {
        let place = open(&path)?;
        match mkdirat(&place, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) | Err(Errno::EXIST) => path.push(name),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(open(&whole)?)
}

/// Removes what is in a file's place; a folder stays, and is an error.
fn clear(place: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(place, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    /// Unpacks what a tar program would never make.
    fn unpacked(into: &Path, build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<u64> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let bytes = builder.into_inner().unwrap();
        let (pieces, waiting) = mpsc::channel(1);
        let sender = std::thread::spawn(move || {
            // Odd sizes, so that heads come in pieces.
            for piece in bytes.chunks(333) {
                if pieces.blocking_send(piece.to_vec()).is_err() {
                    return;
                }
            }
        });
        let result = unpack(waiting, into);
        sender.join().unwrap();
        result
    }

    fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, content: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        // Written as it is: set_path would refuse.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let data = if is_link { "" } else { content };
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }

    #[test]
    fn files_folders_and_links_come_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("new");
        let left_out = unpacked(&into, |tar| {
            entry(tar, EntryType::Directory, "./", "");
            entry(tar, EntryType::Directory, "./d", "");
            entry(tar, EntryType::Regular, "./d/a", "text");
            entry(tar, EntryType::Regular, "./e/f/b", "");
            entry(tar, EntryType::Symlink, "./d/up", "../e/f/b");
            entry(tar, EntryType::Link, "./d/same", "./d/a");
        });
        assert_eq!(left_out, Ok(0));
        assert_eq!(std::fs::read(into.join("d/a")).unwrap(), b"text");
        let meta = |name| std::fs::metadata(into.join(name)).unwrap();
        assert_eq!(meta("d/a").ino(), meta("d/same").ino());
        assert_eq!(meta("d/a").mode() & 0o7000, 0);
        let link = std::fs::read_link(into.join("d/up")).unwrap();
        assert_eq!(link, Path::new("../e/f/b"));
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "mine").unwrap();
        let into = folder.path().join("new");
        std::fs::create_dir(&into).unwrap();
        symlink(&outside, into.join("way")).unwrap();
        symlink(outside.join("kept"), into.join("through")).unwrap();
        for name in ["../outside/x", "/tmp/../x", "way/x"] {
            let put = unpacked(&into, |tar| entry(tar, EntryType::Regular, name, "evil"));
            assert!(put.is_err(), "{name}");
        }
        let replaced = unpacked(&into, |tar| {
            entry(tar, EntryType::Regular, "through", "evil");
        });
        assert_eq!(replaced, Ok(0));
        assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn links_that_lead_out_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("new");
        let left_out = unpacked(&into, |tar| {
            entry(tar, EntryType::Symlink, "a", "/etc/passwd");
            entry(tar, EntryType::Symlink, "b", "../x");
            entry(tar, EntryType::Symlink, "c/d", "../../x");
            entry(tar, EntryType::Symlink, "c/root", "..");
            // Lexically inside, but not by way of the link above.
            entry(tar, EntryType::Symlink, "e", "c/root/../x");
            entry(tar, EntryType::Link, "f", "../x");
            entry(tar, EntryType::Fifo, "g", "");
            entry(tar, EntryType::Char, "h", "");
        });
        assert_eq!(left_out, Ok(7));
        let names = std::fs::read_dir(&into).unwrap().count();
        assert_eq!(names, 1);
    }

    #[test]
    fn a_name_of_megabytes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(3 << 20);
        let put = unpacked(&folder.path().join("new"), |tar| {
            entry(tar, EntryType::GNULongName, "././@LongLink", &long);
            entry(tar, EntryType::Regular, "a", "");
        });
        assert!(put.unwrap_err().to_string().contains("too long"));
    }
}
