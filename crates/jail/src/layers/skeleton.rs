//! The folders of the host's system once more, empty, as the caller's own.
//!
//! One serves all sandboxes of a caller, until the host's folders change. The few files in it are
//! copies of what package managers change in place.

use super::{beneath, folders};
use casemate_core::error::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, XattrFlags, fsetxattr, mkdirat, openat, statat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A folder whose own files are copied, since they are opened for writing; and one in it.
const COPIED: &str = "/var/lib/dpkg";
const COPIED_TOO: &CStr = c"triggers";
/// What is copied of a file at the most.
const LARGEST: u64 = 16 << 20;
/// How folders are opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// More folders than this aren't a system's.
const MOST: usize = 500_000;
/// What says that folders changed: package managers write here.
const SIGNS: &[&str] = &[
    "/usr",
    "/usr/lib",
    "/usr/share",
    "/usr/share/doc",
    "/var/lib/dpkg/info",
];

/// The skeleton of this host's folders, below a folder of the caller's: the one that is there, or a
/// new one.
///
/// # Errors
/// It can't be made.
pub fn below(place: &Path) -> Result<PathBuf> {
    let whole = place.join(name());
    if whole.is_dir() {
        return Ok(whole);
    }
    let fail = |error: &std::io::Error| {
        Error::io("make folders above those of the system", error).on(place.display())
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(place)
        .map_err(|error| fail(&error))?;
    // Whoever had this number before is gone, and left it unfinished.
    let part = place.join(format!(".part-{}", std::process::id()));
    let _ = fs::remove_dir_all(&part);
    let mut left = MOST;
    for folder in folders() {
        let copy = beneath(&part, &folder);
        fs::create_dir_all(&copy).map_err(|error| fail(&error))?;
        let copies = folder == Path::new(COPIED);
        let repeated = openat(CWD, &copy, FOLDER, Mode::empty()).and_then(|copy| {
            let folder = Dir::new(openat(CWD, &folder, FOLDER, Mode::empty())?)?;
            repeat(&folder, copy.as_fd(), copies, &mut left)
        });
        repeated.map_err(|errno| fail(&errno.into()))?;
    }
    match fs::rename(&part, &whole) {
        Ok(()) => Ok(whole),
        // Somebody else was faster.
        Err(_) if whole.is_dir() => {
            let _ = fs::remove_dir_all(&part);
            Ok(whole)
        }
        Err(error) => Err(fail(&error)),
    }
}

/// Removes those of earlier days. No sandbox may have one below it.
pub fn forget_others(place: &Path) {
    let current = name();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name() != current.as_str() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Another one for each state of the host.
fn name() -> String {
    let time = |path: &&str| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.mtime() as u64).wrapping_mul(1_000_003) ^ meta.mtime_nsec() as u64)
    };
    let times = SIGNS.iter().filter_map(time);
    let sum = times.fold(1u64, |sum, time| sum.rotate_left(7).wrapping_mul(31) ^ time);
    format!("{sum:016x}")
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
