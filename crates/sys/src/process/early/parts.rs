//! Parts of the view that are the same in every plan.
//!
//! The maker has time for them while its caller still reads arguments. They wait as detached
//! mounts, each a descriptor in the table that both share; what isn't there is made by whoever
//! builds the view.

use super::Shared;
use crate::Errno;
use crate::mount::{Attributes, Detached};
use crate::raw::raw;
use rustix::fd::{FromRawFd, OwnedFd, RawFd};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// What is copied of the host: `r` for a read-only folder or `d` for a device, the path, a zero.
/// One string, since a table of strings would have to be relocated before it can be read.
const COPIED: &[u8] = b"r/usr\0d/dev/null\0d/dev/zero\0d/dev/full\0d/dev/random\0d/dev/urandom\0\
                        d/dev/tty\0r/sys/devices/system/cpu\0";
const FOLDER: Attributes = Attributes::NO_SUID
    .and(Attributes::NO_DEVICES)
    .and(Attributes::READ_ONLY);
const DEVICE: Attributes = Attributes::NO_SUID;
/// The attributes of both fresh file systems.
const FRESH: Attributes = Attributes::NO_SUID.and(Attributes::NO_EXEC);

/// Where in [`Shared`] the fresh file systems are, after the copies.
const TERMINALS: usize = 8;
const QUEUES: usize = 9;
/// How many parts there are.
pub(super) const COUNT: usize = 10;

/// The parts that the maker made; each is taken once.
#[derive(Default)]
pub struct Parts([Option<OwnedFd>; COUNT]);

impl Parts {
    /// Takes over what is open, for whoever has the table of descriptors.
    pub(super) fn take(shared: &Shared) -> Self {
        Self(std::array::from_fn(|index| {
            let fd = shared.parts[index].swap(0, Ordering::Relaxed) - 1;
            // SAFETY: the maker stored a new descriptor there, which nobody else takes.
            (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        }))
    }

    /// A copy of the host's mount at `source` with these attributes, if there is one.
    pub fn copy(&mut self, source: &Path, attributes: Attributes) -> Option<Detached> {
        let index = COPIED
            .split_inclusive(|byte| *byte == 0)
            .position(|entry| match entry {
                [b'r', path @ .., 0] => {
                    attributes == FOLDER && path == source.as_os_str().as_bytes()
                }
                [b'd', path @ .., 0] => {
                    attributes == DEVICE && path == source.as_os_str().as_bytes()
                }
                _ => false,
            })?;
        self.0[index].take().map(Detached::from)
    }

    /// A fresh devpts (mount options of "Linux Documentation, filesystems/devpts").
    ///
    /// # Errors
    /// What its making failed with.
    pub fn terminals(&mut self) -> Result<Detached, Errno> {
        self.fresh(TERMINALS, terminals)
    }

    /// The POSIX message queues of this IPC namespace (mq_overview(7)).
    ///
    /// # Errors
    /// What its making failed with.
    pub fn queues(&mut self) -> Result<Detached, Errno> {
        self.fresh(QUEUES, queues)
    }

    fn fresh(&mut self, index: usize, make: unsafe fn() -> i64) -> Result<Detached, Errno> {
        if let Some(fd) = self.0[index].take() {
            return Ok(fd.into());
        }
        // SAFETY: makes system calls, and needs nothing.
        let fd = unsafe { make() };
        if fd < 0 {
            return Err(Errno::from_raw_os_error(-fd as i32));
        }
        // SAFETY: a new descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }.into())
    }
}

/// Makes what can be made.
///
/// # Safety
/// The caller is the maker, in the namespaces that it made.
pub(super) unsafe fn make(shared: &Shared) {
    let (mut at, mut index) = (0, 0);
    // SAFETY: every entry of the string has a letter, a path and a zero; there are as many as there
    // are places before TERMINALS.
    unsafe {
        while at < COPIED.len() && index < TERMINALS {
            let entry = COPIED.as_ptr().add(at);
            let attributes = if *entry == b'r' { FOLDER } else { DEVICE };
            keep(
                shared.parts.as_ptr().add(index),
                copy(entry.add(1), attributes),
            );
            index += 1;
            // A plain read would become a call of strlen, which is found by relocation.
            while COPIED.as_ptr().add(at).read_volatile() != 0 {
                at += 1;
            }
            at += 1;
        }
        keep(shared.parts.as_ptr().add(TERMINALS), terminals());
        keep(shared.parts.as_ptr().add(QUEUES), queues());
    }
}

unsafe fn keep(place: *const AtomicI32, fd: i64) {
    if fd >= 0 {
        // SAFETY: the caller's: one of the places.
        unsafe { (*place).store(fd as i32 + 1, Ordering::Relaxed) };
    }
}

/// A restricted copy of the mount at a path, with everything below it (open_tree(2)).
unsafe fn copy(path: *const u8, attributes: Attributes) -> i64 {
    let flags = 1 | libc::O_CLOEXEC | libc::AT_RECURSIVE | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path ends in zero; the call gets a whole mount_attr with its size.
    unsafe {
        let fd = raw(
            libc::SYS_open_tree,
            libc::AT_FDCWD as u64,
            path as u64,
            flags as u64,
            0,
            0,
            0,
        );
        if fd < 0 {
            return fd;
        }
        let attr = attributes.private();
        let result = raw(
            libc::SYS_mount_setattr,
            fd as u64,
            c"".as_ptr() as u64,
            (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE) as u64,
            (&raw const attr) as u64,
            size_of_val(&attr) as u64,
            0,
        );
        or_close(fd, result)
    }
}

unsafe fn terminals() -> i64 {
    // SAFETY: the settings are what the file system knows.
    unsafe {
        fresh(c"devpts", |context| {
            let mut result = set(context, FLAG, c"newinstance", None);
            if result >= 0 {
                result = set(context, STRING, c"ptmxmode", Some(c"0666"));
            }
            if result >= 0 {
                result = set(context, STRING, c"mode", Some(c"0620"));
            }
            result
        })
    }
}

unsafe fn queues() -> i64 {
    // SAFETY: there are no settings.
    unsafe { fresh(c"mqueue", |_| 0) }
}

/// The commands of fsconfig(2).
const FLAG: u64 = 0;
const STRING: u64 = 1;
const CREATE: u64 = 6;

/// A new file system (fsopen(2), fsconfig(2), fsmount(2)), with settings.
#[inline(always)]
unsafe fn fresh(kind: &CStr, settings: impl FnOnce(u64) -> i64) -> i64 {
    const CLOEXEC: u64 = 1;
    // SAFETY: the kind is a string; descriptors are closed by the one who made them.
    unsafe {
        let context = raw(libc::SYS_fsopen, kind.as_ptr() as u64, CLOEXEC, 0, 0, 0, 0);
        if context < 0 {
            return context;
        }
        let context = context as u64;
        let mut result = settings(context);
        if result >= 0 {
            result = raw(libc::SYS_fsconfig, context, CREATE, 0, 0, 0, 0);
        }
        if result >= 0 {
            let attributes = FRESH.bits();
            result = raw(libc::SYS_fsmount, context, CLOEXEC, attributes, 0, 0, 0);
        }
        raw(libc::SYS_close, context, 0, 0, 0, 0, 0);
        result
    }
}

#[inline(always)]
unsafe fn set(context: u64, command: u64, key: &CStr, value: Option<&CStr>) -> i64 {
    let value = value.map_or(0, |value| value.as_ptr() as u64);
    // SAFETY: key and value are strings, or there is no value.
    unsafe {
        raw(
            libc::SYS_fsconfig,
            context,
            command,
            key.as_ptr() as u64,
            value,
            0,
            0,
        )
    }
}

/// The descriptor, or what went wrong with it.
unsafe fn or_close(fd: i64, result: i64) -> i64 {
    if result >= 0 {
        return fd;
    }
    // SAFETY: the caller's, who made the descriptor.
    unsafe { raw(libc::SYS_close, fd as u64, 0, 0, 0, 0, 0) };
    result
}
