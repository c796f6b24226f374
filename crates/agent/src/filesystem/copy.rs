//! A copy that can stand in for what it is a copy of: contents, modes, owners where they can be
//! given, times, links and what is noted in `user.` attributes.

use crate::fault::{Fault, Result};
use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmod,
    chownat, getxattr, listxattr, listxattr_query, lstat, mkdir, mknodat, open, setxattr,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Copies what is at `source`, folders with what they hold, to `target`, which must not exist.
pub(crate) fn copy(source: &Path, target: &Path) -> Result<()> {
    let mut waiting = vec![(source.to_owned(), target.to_owned())];
    let mut folders = Vec::new();
    while let Some((from, to)) = waiting.pop() {
        let fault = |errno| Fault::errno("copy", &from, errno);
        let found = lstat(&from).map_err(fault)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                mkdir(&to, Mode::RWXU).map_err(fault)?;
                for item in std::fs::read_dir(&from).map_err(|e| Fault::io("copy", &from, &e))? {
                    let name = item.map_err(|e| Fault::io("copy", &from, &e))?.file_name();
                    waiting.push((from.join(&name), to.join(&name)));
                }
                // What is put into a folder changes its time.
                folders.push((from, to, found));
                continue;
            }
            FileType::RegularFile => contents(&from, &to)?,
            FileType::Symlink => {
                let leads = std::fs::read_link(&from).map_err(|e| Fault::io("copy", &from, &e))?;
                symlinkat(leads, CWD, &to).map_err(fault)?;
            }
            kind => mknodat(CWD, &to, kind, Mode::RWXU, found.st_rdev).map_err(fault)?,
        }
        attributes(&from, &to, &found).map_err(fault)?;
    }
    for (from, to, found) in folders.iter().rev() {
        attributes(from, to, found).map_err(|errno| Fault::errno("copy", from, errno))?;
    }
    Ok(())
}

fn contents(from: &Path, to: &Path) -> Result<()> {
    // What was a file may have become a pipe, which must not be waited for.
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let source = open(from, read, Mode::empty()).map_err(|e| Fault::errno("copy", from, e))?;
    let target =
        open(to, write, Mode::RUSR | Mode::WUSR).map_err(|e| Fault::errno("write", to, e))?;
    let found = rustix::fs::fstat(source.as_fd()).map_err(|e| Fault::errno("copy", from, e))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Fault::errno("copy", from, Errno::INVAL));
    }
    std::io::copy(&mut File::from(source), &mut File::from(target))
        .map(drop)
        .map_err(|error| Fault::io("copy", from, &error))
}

fn attributes(from: &Path, to: &Path, found: &Stat) -> std::result::Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    match chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        // Where there is one user, everything is that user's.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
        notes(from, to);
        match chmod(to, Mode::from_raw_mode(found.st_mode & 0o7777)) {
            // The wall lets nobody make a program that runs as another user.
            Err(Errno::PERM) => chmod(to, Mode::from_raw_mode(found.st_mode & 0o1777))?,
            result => result?,
        }
    }
    let time = |tv_sec, nanoseconds| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Copies `user.` attributes as far as the other file system keeps such.
fn notes(from: &Path, to: &Path) {
    let mut list = vec![0; listxattr_query(from).unwrap_or(0)];
    if list.is_empty() {
        return;
    }
    let length = listxattr(from, &mut list[..]).unwrap_or(0);
    let mut value = vec![0; 64 * 1024];
    for name in list[..length].split(|byte| *byte == 0) {
        if name.starts_with(b"user.")
            && let Ok(size) = getxattr(from, name, &mut value[..])
        {
            setxattr(to, name, &value[..size], XattrFlags::empty()).ok();
        }
    }
}
