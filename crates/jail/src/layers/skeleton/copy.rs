//! Copying the folders, and of files those few that package managers change in place.

use super::FOLDER;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, XattrFlags, fsetxattr, mkdirat, openat, statat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// A folder whose own files are copied, since they are opened for writing; and one in it.
const COPIED: &str = "/var/lib/dpkg";
const COPIED_TOO: &CStr = c"triggers";
/// What is copied of a file at the most.
const LARGEST: u64 = 16 << 20;
/// More folders than this aren't a system's.
const MOST: usize = 500_000;

/// Makes all of a folder's folders once more.
pub(super) fn copy(folder: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let to = openat(CWD, to, FOLDER, Mode::empty())?;
    let copies = folder == Path::new(COPIED);
    let folder = Dir::new(openat(CWD, folder, FOLDER, Mode::empty())?)?;
    Ok(repeat(&folder, to.as_fd(), copies, &mut { MOST })?)
}

/// Makes an empty folder for each of the host's, in the folder that is there for this one. A system
/// has tens of thousands of them and many more files, of which nothing but the kind is looked at.
fn repeat(folder: &Dir, copy: BorrowedFd<'_>, copies: bool, left: &mut usize) -> Result<(), Errno> {
    let source = folder.fd()?;
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            _ if name == c"." || name == c".." => {}
            FileType::Directory => {
                *left = left.checked_sub(1).ok_or(Errno::TOOBIG)?;
                let mode = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
                // Its owner has to get in.
                mkdirat(copy, name, Mode::from_raw_mode(mode & 0o777 | 0o700))?;
                let copy = openat(copy, name, FOLDER, Mode::empty())?;
                match openat(source, name, FOLDER, Mode::empty()).and_then(Dir::new) {
                    Ok(folder) => {
                        let copies = copies && name == COPIED_TOO;
                        repeat(&folder, copy.as_fd(), copies, left)?;
                    }
                    // What can't be looked into isn't shown either.
                    Err(_) => {
                        let flags = XattrFlags::empty();
                        let _ = fsetxattr(&copy, c"user.overlay.opaque", b"y", flags);
                    }
                }
            }
            FileType::RegularFile if copies => duplicate(source, copy, name)?,
            _ => {}
        }
    }
    Ok(())
}

/// Copies a file; one that can't be read is a lock, and empty.
fn duplicate(source: BorrowedFd<'_>, copy: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut to = File::from(openat(copy, name, flags, Mode::from_raw_mode(0o644))?);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(from) = openat(source, name, flags, Mode::empty()) {
        let copied = std::io::copy(&mut File::from(from).take(LARGEST), &mut to);
        copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    Ok(())
}
