//! Files that belong to someone else from the moment they exist.
//!
//! A file made first and given away by chown(2) afterwards has a moment in between in which its
//! name can be pointed at another file, which is then given away instead. The kernel gives a new
//! file to the maker's file system ids (setfsuid(2)): change those for the making, and there is
//! nothing left to give away. The C library has no safe door to them.

use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// Runs `work` on this thread so that what it makes belongs to `uid` and `gid`. What it may do
/// stays what the caller may do.
///
/// A process that may not choose owners (without CAP_SETUID, or ids that its user namespace
/// doesn't know) makes files of its own, as chown(2) would have failed as well.
pub fn made_for<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    let _restored = Ids::change(uid, gid);
    work()
}

/// The ids and capabilities to go back to.
struct Ids {
    uid: u32,
    gid: u32,
    rights: CapabilitySets,
}

impl Ids {
    fn change(uid: u32, gid: u32) -> Option<Self> {
        // Without rights to keep, the change would take some away for good.
        let rights = capabilities(None).ok()?;
        let before = Self {
            uid: set_uid(u32::MAX),
            gid: set_gid(u32::MAX),
            rights,
        };
        if (before.uid, before.gid) == (uid, gid) {
            return None;
        }
        set_gid(gid);
        set_uid(uid);
        // Leaving uid 0 dropped the rights over files from the effective set, not for good.
        before.allow();
        Some(before)
    }

    fn allow(&self) {
        if set_capabilities(None, self.rights).is_err() {
            // Only a set that is larger than the permitted one is refused, and nothing here
            // makes that smaller.
            std::process::abort();
        }
    }
}

impl Drop for Ids {
    fn drop(&mut self) {
        set_uid(self.uid);
        set_gid(self.gid);
        self.allow();
        if (set_uid(u32::MAX), set_gid(u32::MAX)) != (self.uid, self.gid) {
            // The next file of this thread would belong to the wrong user.
            std::process::abort();
        }
    }
}

/// Changes the thread's file system uid and returns the one before; an id that can't be, such as
/// -1, changes nothing.
fn set_uid(uid: u32) -> u32 {
    // SAFETY: takes and returns a number. It fails by changing nothing.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

/// Like [`set_uid`], of the group.
fn set_gid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::{made_for, set_uid};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_belongs_to_whom_it_was_made_for() {
        let path = std::env::temp_dir().join(format!("casemate-owner-{}", std::process::id()));
        let own = set_uid(u32::MAX);
        made_for(1234, 4321, || std::fs::write(&path, b"")).unwrap();
        let made = std::fs::metadata(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = if rustix::process::geteuid().is_root() {
            (1234, 4321)
        } else {
            (own, made.gid())
        };
        assert_eq!((made.uid(), made.gid()), expected);
        assert_eq!(set_uid(u32::MAX), own);
    }

    #[test]
    fn the_rights_stay_meanwhile_and_afterwards() {
        let folder = std::env::temp_dir().join(format!("casemate-rights-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        // A folder of the caller's, in which another user could not write.
        made_for(1234, 4321, || std::fs::write(folder.join("a"), b"")).unwrap();
        std::fs::write(folder.join("b"), b"").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
