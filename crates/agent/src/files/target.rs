//! A file that is being written.
//!
//! It is written in place, under its own name: that is what watchers of the folder expect, and
//! what keeps a file's links, mode and readers. What comes in may end early, though. A file that
//! was made for it then disappears again. One that existed is only touched once all has come, or
//! more than is held in memory; so the usual overwritten file, a script or a configuration, is
//! either the old one or the new one. A larger one that breaks off is left as far as it came.

use crate::fault::{Cause, Fault, Result};
use crate::filesystem::folder::{Reached, ensure_parent};
use crate::filesystem::metadata::{self, Metadata};
use crate::filesystem::owner::Owner;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fchown, fstat, fstatvfs, ftruncate, openat,
    statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes for a file that exists that are held before it is touched.
const HELD: usize = 1024 * 1024;

/// How a file is opened for writing; nothing in its place is waited for.
const WRITE: OFlags = OFlags::WRONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A file between its first byte and its last.
pub(crate) struct Target {
    path: PathBuf,
    file: File,
    state: State,
    metadata: Metadata,
    owner: Owner,
}

enum State {
    /// It was made for this, in that folder and under that name.
    Made(OwnedFd, OsString),
    /// It existed and is untouched; what it is to hold so far. Whether its owner may change.
    Held(Vec<u8>, bool),
    /// What is there stays there.
    Kept,
}

impl Target {
    /// Opens the file at `path`, making it and the folders on the way if need be. `expected`
    /// bytes at least are about to come, if that is known: what can't have place isn't begun.
    pub(crate) fn open(
        path: &Path,
        owner: Owner,
        metadata: Metadata,
        expected: Option<u64>,
    ) -> Result<Self> {
        metadata::check(&metadata)?;
        let (way, name) = ensure_parent(path, owner)?;
        let fault = |errno| match errno {
            // A pipe that nobody reads, or a socket.
            Errno::NXIO => irregular(path),
            errno => Fault::errno("write", path, errno),
        };
        let (file, state) = open(way, name, owner).map_err(fault)?;
        let found = fstat(&file).map_err(fault)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(irregular(path));
        }
        let target = Self {
            path: path.to_owned(),
            file: file.into(),
            state,
            metadata,
            owner,
        };
        target.room(&found, expected)?;
        if matches!(target.state, State::Made(..)) {
            target.describe()?;
        }
        Ok(target)
    }

    /// Refuses what the file system certainly has no place for.
    fn room(&self, found: &Stat, expected: Option<u64>) -> Result<()> {
        let system = fstatvfs(&self.file).map_err(|e| Fault::errno("write", &self.path, e))?;
        // Some file systems don't count.
        if system.f_blocks == 0 {
            return Ok(());
        }
        let own = u64::try_from(found.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        let free = system.f_bfree.saturating_mul(system.f_frsize);
        match expected.is_some_and(|expected| expected > free.saturating_add(own)) {
            true => Err(Fault::errno("write", &self.path, Errno::NOSPC)),
            false => Ok(()),
        }
    }

    fn describe(&self) -> Result<()> {
        metadata::replace(self.file.as_fd(), &self.path, &self.metadata)
    }

    /// Adds bytes at the end.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let State::Held(held, _) = &mut self.state {
            if held.len() + bytes.len() <= HELD {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            self.begin()?;
        }
        self.put(bytes)
    }

    /// All has come.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.begin()?;
        let found = fstat(&self.file).map_err(|e| Fault::errno("write", &self.path, e))?;
        if found.st_nlink == 0 {
            let path = self.path.display();
            let text = format!("path '{path}' was removed while it was written");
            return Err(Fault::new(Cause::State, text));
        }
        self.state = State::Kept;
        Ok(())
    }

    /// Replaces what was in a file that existed by what was held.
    fn begin(&mut self) -> Result<()> {
        let fault = |errno| Fault::errno("write", &self.path, errno);
        if let State::Held(_, own) = &self.state {
            if *own {
                adopt(self.file.as_fd(), self.owner).map_err(fault)?;
            }
            ftruncate(&self.file, 0).map_err(fault)?;
            self.describe()?;
        }
        match std::mem::replace(&mut self.state, State::Kept) {
            State::Held(held, _) => self.put(&held),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| Fault::io("write", &self.path, &error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let State::Made(folder, name) = &self.state {
            let same = |there: Stat, made: Stat| {
                (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino)
            };
            let there = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
            // Under the name there may be another file by now.
            if let (Ok(there), Ok(made)) = (there, fstat(&self.file))
                && same(there, made)
            {
                unlinkat(folder, name, AtFlags::empty()).ok();
            }
        }
    }
}

/// Opens what is there, or makes what isn't.
///
/// Opening comes first: where a sticky folder is protected (fs.protected_regular in proc(5)),
/// even root may not "create" another user's file that exists.
fn open(way: Reached, name: &OsStr, owner: Owner) -> std::result::Result<(OwnedFd, State), Errno> {
    let open = |flags| openat(&way.folder, name, WRITE | flags, Mode::empty());
    let make = |flags| {
        let flags = WRITE | OFlags::CREATE | flags;
        owner.makes(|| openat(&way.folder, name, flags, Mode::from_raw_mode(0o644)))
    };
    match open(OFlags::NOFOLLOW) {
        Ok(file) => {
            // Anyone may have led here with a link, or given somebody's file a second name:
            // then it stays whose it is.
            let own = way.straight && fstat(&file)?.st_nlink == 1;
            Ok((file, State::Held(Vec::new(), own)))
        }
        Err(Errno::LOOP) => match open(OFlags::empty()) {
            Ok(file) => Ok((file, State::Held(Vec::new(), false))),
            // A link to nothing: what is made at its end can't be found again by this name.
            Err(Errno::NOENT) => Ok((make(OFlags::empty())?, State::Kept)),
            Err(errno) => Err(errno),
        },
        Err(Errno::NOENT) => match make(OFlags::EXCL) {
            Ok(file) => Ok((file, State::Made(way.folder, name.to_owned()))),
            // Somebody was faster.
            Err(Errno::EXIST) => Ok((open(OFlags::empty())?, State::Held(Vec::new(), false))),
            Err(errno) => Err(errno),
        },
        Err(errno) => Err(errno),
    }
}

/// Makes a file the user's; where there is one user, it is already.
fn adopt(file: BorrowedFd<'_>, owner: Owner) -> std::result::Result<(), Errno> {
    let found = fstat(file)?;
    if (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    match fchown(file, Some(uid), Some(gid)) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn irregular(path: &Path) -> Fault {
    Fault::invalid(format!("path '{}' is not a regular file", path.display()))
}

#[cfg(test)]
mod tests;
