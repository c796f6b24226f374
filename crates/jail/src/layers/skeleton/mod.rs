//! The folders of the host's system once more, empty, as the caller's own.
//!
//! One serves all sandboxes of a caller, whichever daemon makes them, until the host's folders change.
//! To make one takes seconds, so they are kept on a shelf in the caller's cache:
//!
//! ```text
//!  shelf/  .lock              whoever makes or removes one holds it
//!          .part-*            being made, or what was left when its maker was killed
//!          KEY-0/             whole: it got its name when it was
//!                usr/ …       what lies above the host's folders
//!                census       how much there is, by which damage is found
//! ```
//!
//! Who uses one holds a lock on its folder (flock(2)), which ends with the process: daemons, and the
//! keepers of their sandboxes. What nobody holds and no daemon would take any more is removed.
//! Sandboxes see one as a lower layer of an overlay, which the kernel never writes to.

mod census;
mod copy;

use super::{beneath, folders};
use casemate_core::error::{Error, Result};
use census::Census;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, lstat, openat};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How folders are opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// What says that folders changed: package managers write here.
const SIGNS: &[&str] = &[
    "/usr",
    "/usr/lib",
    "/usr/share",
    "/usr/share/doc",
    "/var/lib/dpkg/info",
];
/// Another one for each way in which they are made.
const FORM: u64 = 2;
const LOCK: &str = ".lock";
const PART: &str = ".part-";
/// How long it is waited for whoever makes or removes one, and between two looks.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// Of the same host, if some are damaged and still used.
const MOST: usize = 16;

/// A skeleton that is whole, and stays as long as this is held.
#[derive(Debug)]
pub struct Skeleton {
    path: PathBuf,
    held: OwnedFd,
}

impl Skeleton {
    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still in its place: whoever tidies up a cache asks nobody.
    #[must_use]
    pub fn stands(&self) -> bool {
        is_at(&self.held, &self.path).unwrap_or(false)
    }
}

/// Where they are kept.
#[derive(Debug)]
pub struct Shelf {
    place: PathBuf,
    /// The host's, of which they are made.
    folders: Vec<PathBuf>,
    key: String,
}

impl Shelf {
    /// Makes the folder, or takes the one that is there if nobody else may enter it.
    ///
    /// # Errors
    /// It can't be made, or it is somebody else's.
    pub fn open(place: &Path) -> Result<Self> {
        Self::of(place, folders(), key())
    }

    fn of(place: &Path, folders: Vec<PathBuf>, key: String) -> Result<Self> {
        let step = "use as the folder for those above the system's";
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(place)
            .map_err(|error| Error::io(step, &error).on(place.display()))?;
        let meta = fs::symlink_metadata(place)
            .map_err(|error| Error::io(step, &error).on(place.display()))?;
        if !meta.is_dir() || !is_private(meta.uid(), meta.mode()) {
            return Err(Error::rule(step, "others may enter it")
                .on(place.display())
                .hint("chmod 700, or set XDG_CACHE_HOME to another folder"));
        }
        Ok(Self {
            place: place.to_owned(),
            folders,
            key,
        })
    }

    /// The skeleton of this host's folders: the one that is there, or a new one.
    ///
    /// # Errors
    /// It can't be made.
    pub fn take(&self) -> Result<Skeleton> {
        if let Some(skeleton) = whole(&self.named(0)) {
            return Ok(skeleton);
        }
        // Somebody else may be making it.
        let _lock = self.lock()?;
        for number in 0..MOST {
            let path = self.named(number);
            if path.symlink_metadata().is_ok() {
                if let Some(skeleton) = whole(&path) {
                    return Ok(skeleton);
                }
                // One that others have below their sandboxes stays as it is.
                if !self.remove(&path) {
                    continue;
                }
            }
            self.make(&path)?;
            return whole(&path).ok_or_else(|| {
                Error::rule(
                    "make folders above those of the system",
                    "they changed meanwhile",
                )
                .on(path.display())
            });
        }
        Err(Error::rule(
            "make folders above those of the system",
            "all that are there are damaged, and used",
        )
        .on(self.place.display()))
    }

    /// Removes those that nobody needs: made of other folders, or left unfinished.
    pub fn tidy(&self) {
        // Who makes one now does this, too.
        let Ok(_lock) = self.lock() else { return };
        self.clear();
        for entry in fs::read_dir(&self.place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_other = !name.as_encoded_bytes().starts_with(self.key.as_bytes());
            if is_other && name != LOCK {
                self.remove(&entry.path());
            }
        }
    }

    fn named(&self, number: usize) -> PathBuf {
        self.place.join(format!("{}-{number}", self.key))
    }

    /// Waits until nobody else makes or removes one, but not for ever: who does may hang.
    fn lock(&self) -> Result<OwnedFd> {
        let path = self.place.join(LOCK);
        let fail = |errno: Errno| Error::errno("lock", errno.raw_os_error()).on(path.display());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(CWD, &path, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
        let begun = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(lock),
                Err(Errno::AGAIN) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
    }

    /// Makes one where none is. The lock is held.
    fn make(&self, path: &Path) -> Result<()> {
        let fail = |error: std::io::Error| {
            Error::io("make folders above those of the system", &error).on(path.display())
        };
        self.clear();
        let part = self.place.join(format!("{PART}{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&part)
            .map_err(fail)?;
        for folder in &self.folders {
            copy::copy(folder, &beneath(&part, folder)).map_err(fail)?;
        }
        let census = Census::of(&part).map_err(|errno| fail(errno.into()))?;
        census.write(&part).map_err(fail)?;
        fs::rename(&part, path).map_err(fail)
    }

    /// Removes what makers that were killed have left. The lock is held, so nobody makes anything.
    fn clear(&self) {
        for entry in fs::read_dir(&self.place).into_iter().flatten().flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PART.as_bytes())
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes one, unless somebody holds it. The lock is held.
    fn remove(&self, path: &Path) -> bool {
        let Ok(folder) = openat(CWD, path, FOLDER, Mode::empty()) else {
            // No folder at all.
            return fs::remove_file(path).is_ok();
        };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        // Whoever waits for the lock sees that the name is gone.
        let gone = self
            .place
            .join(format!("{PART}gone-{}", std::process::id()));
        let moved = fs::rename(path, &gone).is_ok();
        let _ = fs::remove_dir_all(&gone);
        moved
    }
}

/// Takes one that a daemon has taken, for as long as the descriptor is open.
///
/// # Errors
/// It is gone.
pub fn hold(path: &Path) -> Result<OwnedFd> {
    held(path).map_err(|errno| {
        Error::errno(
            "hold folders above those of the system",
            errno.raw_os_error(),
        )
        .on(path.display())
    })
}

fn held(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let folder = openat(CWD, path, FOLDER, Mode::empty())?;
    let own = fstat(&folder)?;
    if !is_private(own.st_uid, own.st_mode) {
        return Err(Errno::PERM);
    }
    flock(&folder, FlockOperation::NonBlockingLockShared)?;
    // It may have been removed a moment before.
    match is_at(&folder, path)? {
        true => Ok(folder),
        false => Err(Errno::NOENT),
    }
}

/// Whether an open folder has this name still.
fn is_at(folder: &OwnedFd, path: &Path) -> std::result::Result<bool, Errno> {
    let (own, named) = (fstat(folder)?, lstat(path)?);
    Ok((named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
}

/// The one of this name, if it is there and nothing of it is missing.
fn whole(path: &Path) -> Option<Skeleton> {
    let held = held(path).ok()?;
    let census = Census::read(path)?;
    (Census::of(path).ok()? == census).then(|| Skeleton {
        path: path.to_owned(),
        held,
    })
}

/// This user's own, and nobody else may enter.
fn is_private(uid: u32, mode: u32) -> bool {
    uid == rustix::process::geteuid().as_raw() && mode & 0o077 == 0
}

/// Another one for each state of the host.
fn key() -> String {
    let of_path = |path: &&str| {
        let meta = fs::metadata(path).ok()?;
        Some([
            meta.dev(),
            meta.ino(),
            meta.mtime() as u64,
            meta.mtime_nsec() as u64,
        ])
    };
    let signs = SIGNS.iter().filter_map(of_path).flatten();
    let folders = folders();
    let names = folders
        .iter()
        .flat_map(|path| path.as_os_str().as_encoded_bytes());
    let words = names.map(|byte| u64::from(*byte));
    format!(
        "{:016x}",
        census::mixed([FORM].into_iter().chain(words).chain(signs))
    )
}

#[cfg(test)]
mod tests;
