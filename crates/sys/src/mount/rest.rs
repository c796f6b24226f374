//! The end of building a view, which is done beside other work.
//!
//! When the new root is in place, two things are left. Some files of procfs are covered, which are
//! many mounts on a machine's root account, and what they are covered with loses its name; and the
//! old root is detached, which waits for all processors (umount(2) ends a grace period of RCU). The program's process has much to give up in
//! the meantime, so the process that started it does this, and the program isn't executed before.

use crate::Errno;
use crate::raw::{raw, wait, wake};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is to be covered in a folder, if it exists.
pub struct Covers {
    /// The folder.
    pub folder: OwnedFd,
    /// Mounts in place that are empty and read-only: one on a folder, and one on a file.
    pub on_folder: OwnedFd,
    /// See `on_folder`.
    pub on_file: OwnedFd,
    /// What is covered.
    pub names: Vec<&'static CStr>,
}

/// The empty folder and the empty file that covers are copies of.
pub struct Empty {
    /// Where they are.
    pub parent: OwnedFd,
    /// The folder's name.
    pub folder: &'static CStr,
    /// The file's name.
    pub file: &'static CStr,
}

/// What is left to do; whoever shares this memory can wait for it.
pub struct Rest {
    covers: Option<Covers>,
    empty: Empty,
    /// [`LEFT`], 0, or an errno.
    state: AtomicU32,
    /// How many names are done.
    covered: AtomicU32,
}

const LEFT: u32 = u32::MAX;

/// Makes the current folder the root file system (pivot_root(2)). It must be a mount of its own.
///
/// The old root then lies on top of the new one, where neither a path nor a descriptor leads but
/// `..` in the root folder; it has to be detached before anything foreign runs.
pub fn pivot_to_current_folder(covers: Option<Covers>, empty: Empty) -> Result<Rest, Errno> {
    rustix::process::pivot_root(".", ".")?;
    Ok(Rest {
        covers,
        empty,
        state: AtomicU32::new(LEFT),
        covered: AtomicU32::new(0),
    })
}

impl Rest {
    /// Does it, if nobody has. The current folder is still the one of the pivot.
    ///
    /// Makes system calls and no other use of this process, whose memory may be shared.
    pub fn finish(&self) {
        if self.state.load(Ordering::Acquire) != LEFT {
            return;
        }
        let mut result = self.covers.as_ref().map_or(0, |covers| self.cover(covers));
        if result >= 0 {
            result = self.empty.remove();
        }
        if result >= 0 {
            let (path, flags) = (c".".as_ptr() as u64, libc::MNT_DETACH as u64);
            // SAFETY: the path is a string.
            result = unsafe { raw(libc::SYS_umount2, path, flags, 0, 0, 0, 0) };
        }
        self.state.store((-result.min(0)) as u32, Ordering::Release);
        wake(&self.state);
    }

    fn cover(&self, covers: &Covers) -> i64 {
        let mut result = 0;
        for name in &covers.names {
            if result < 0 {
                break;
            }
            // SAFETY: the names are strings, and the descriptors are open.
            result = unsafe { cover(covers, name) };
            self.covered.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Waits until it's done by a process that shares this memory.
    ///
    /// # Errors
    /// What could not be covered, if it was that, and why.
    pub fn wait(&self) -> Result<(), (Option<&'static CStr>, Errno)> {
        let errno = loop {
            match self.state.load(Ordering::Acquire) {
                LEFT => wait(&self.state, LEFT),
                0 => return Ok(()),
                errno => break Errno::from_raw_os_error(errno as i32),
            }
        };
        let last = self.covered.load(Ordering::Relaxed).checked_sub(1);
        let names = self.covers.as_ref().map(|covers| &covers.names);
        let name = names
            .zip(last)
            .and_then(|(names, last)| names.get(last as usize));
        Err((name.copied(), errno))
    }
}

impl Empty {
    /// Removes them; mounts keep what they show.
    fn remove(&self) -> i64 {
        let parent = self.parent.as_raw_fd() as u64;
        let (folder, file) = (self.folder.as_ptr() as u64, self.file.as_ptr() as u64);
        let flags = libc::AT_REMOVEDIR as u64;
        // SAFETY: the names are strings, and the descriptor is open.
        unsafe {
            raw(libc::SYS_unlinkat, parent, folder, flags, 0, 0, 0).min(raw(
                libc::SYS_unlinkat,
                parent,
                file,
                0,
                0,
                0,
                0,
            ))
        }
    }
}

/// Mounts a copy of the right cover on a name, if it exists. A mount that is made for nothing costs
/// a grace period when it is dropped, so it is made only where it will be attached.
unsafe fn cover(covers: &Covers, name: &CStr) -> i64 {
    const CLONE: i32 = 1;
    const EMPTY_SOURCE: u64 = 4;
    let folder = covers.folder.as_raw_fd() as u64;
    let (name, empty) = (name.as_ptr() as u64, c"".as_ptr() as u64);
    // SAFETY: all zeros is a stat; the calls get strings and a place for one.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let (place, flags) = ((&raw mut stat) as u64, libc::AT_SYMLINK_NOFOLLOW as u64);
        if raw(libc::SYS_newfstatat, folder, name, place, flags, 0, 0) < 0 {
            return 0;
        }
        let source = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => &covers.on_folder,
            _ => &covers.on_file,
        };
        let flags = CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
        let source = source.as_raw_fd() as u64;
        let copy = raw(libc::SYS_open_tree, source, empty, flags as u64, 0, 0, 0);
        if copy < 0 {
            return copy;
        }
        let copy = copy as u64;
        let result = raw(
            libc::SYS_move_mount,
            copy,
            empty,
            folder,
            name,
            EMPTY_SOURCE,
            0,
        );
        raw(libc::SYS_close, copy, 0, 0, 0, 0, 0);
        result
    }
}
