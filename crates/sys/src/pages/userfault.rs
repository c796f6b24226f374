//! userfaultfd(2), only for this: that the kernel takes a page's write protection off by itself when
//! it is written to, and remembers that it did (WP_ASYNC, since Linux 6.7).
//!
//! Nobody waits for faults here. A page is protected by the scan that reported it
//! ([`PageMap`](super::PageMap)), never ahead; the first write after that costs one fault, which the
//! kernel answers alone.

use super::file::inside;
use super::kin::Birthplace;
use super::{Error, Region};
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ops::Range;

/// `UFFD_USER_MODE_ONLY`: no privilege is needed for it. It keeps the kernel's own accesses from
/// waiting for a handler, and there is none.
const USER_MODE_ONLY: libc::c_int = 1;
/// `UFFDIO_API`: `_IOWR(0xAA, 0x3F, struct uffdio_api)`.
const API: libc::Ioctl = 0xC018_AA3F;
/// `UFFDIO_REGISTER`: `_IOWR(0xAA, 0x00, struct uffdio_register)`.
const REGISTER: libc::Ioctl = 0xC020_AA00;
/// `UFFDIO_REGISTER_MODE_WP`.
const WRITE_PROTECT: u64 = 2;

/// What is needed: bit, name, and the kernel that brought it.
const FEATURES: [(u64, &str, &str); 3] = [
    (
        1 << 12,
        "write protection of shared memory files (UFFD_FEATURE_WP_HUGETLBFS_SHMEM)",
        "Linux 5.19 with CONFIG_PTE_MARKER_UFFD_WP",
    ),
    (
        1 << 13,
        "write protection of pages that aren't there (UFFD_FEATURE_WP_UNPOPULATED)",
        "Linux 6.4",
    ),
    (
        1 << 15,
        "write tracking without a handler (UFFD_FEATURE_WP_ASYNC)",
        "Linux 6.7",
    ),
];

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Default)]
struct Handshake {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Registration {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// A descriptor whose ranges are tracked while it is open.
pub struct Userfault {
    descriptor: OwnedFd,
    born: Birthplace,
}

impl Userfault {
    /// Opens one for this process's memory.
    ///
    /// # Errors
    /// [`Error::Unsupported`] says which feature is missing.
    pub fn open() -> Result<Self, Error> {
        let descriptor = descriptor()?;
        let wanted = FEATURES.iter().fold(0, |sum, (bit, ..)| sum | bit);
        match handshake(&descriptor, wanted) {
            Ok(_) => Ok(Self {
                descriptor,
                born: Birthplace::here()?,
            }),
            Err(Errno::INVAL) => Err(missing()?),
            Err(errno) => Err(Error::refused("agreeing on features (UFFDIO_API)")(errno)),
        }
    }

    /// Tracks writes to these pages from now on. What was written before counts as written too. A
    /// range that is mapped anew afterwards has to be registered anew.
    ///
    /// # Errors
    /// The region has fewer pages, they aren't mapped so that they can be written, or this process
    /// was forked from the one that opened it.
    pub fn register(&self, region: &Region, pages: Range<usize>) -> Result<(), Error> {
        self.born.check()?;
        inside(&pages, region.pages())?;
        if pages.is_empty() {
            return Ok(());
        }
        let (start, end) = (region.address(pages.start), region.address(pages.end));
        let mut registration = Registration {
            start: start as u64,
            length: end as u64 - start as u64,
            mode: WRITE_PROTECT,
            ioctls: 0,
        };
        let fd = self.descriptor.as_raw_fd();
        // SAFETY: the request reads and writes one uffdio_register. What it changes is how faults of
        // the range are handled: they all still end as they did.
        check(unsafe { libc::ioctl(fd, REGISTER, &raw mut registration) }.into())
            .map_err(Error::refused("tracking writes (UFFDIO_REGISTER)"))?;
        Ok(())
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn descriptor() -> Result<OwnedFd, Error> {
    let flags = USER_MODE_ONLY | libc::O_CLOEXEC;
    // SAFETY: one integer; the call makes a descriptor and touches no memory.
    let raw = check(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) });
    let raw = raw.map_err(|errno| match errno {
        Errno::NOSYS => Error::Unsupported {
            feature: "userfaultfd(2)",
            needs: "CONFIG_USERFAULTFD, and a filter that lets it through",
        },
        Errno::INVAL => Error::Unsupported {
            feature: "userfaultfd(2) for everybody (UFFD_USER_MODE_ONLY)",
            needs: "Linux 5.11",
        },
        why => Error::refused("tracking writes (userfaultfd)")(why),
    })?;
    // SAFETY: the kernel just made this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// Agrees on these features; returns all that the kernel has.
fn handshake(descriptor: &OwnedFd, features: u64) -> Result<u64, Errno> {
    let mut handshake = Handshake {
        api: 0xAA,
        features,
        ioctls: 0,
    };
    // SAFETY: the request reads and writes one uffdio_api.
    check(unsafe { libc::ioctl(descriptor.as_raw_fd(), API, &raw mut handshake) }.into())?;
    Ok(handshake.features)
}

/// Which feature the kernel hasn't got. It only refuses; asked for nothing it says what it has.
fn missing() -> Result<Error, Error> {
    let refused = Error::refused("agreeing on features (UFFDIO_API)");
    let has = handshake(&descriptor()?, 0).map_err(&refused)?;
    Ok(lacking(has).unwrap_or(refused(Errno::INVAL)))
}

fn lacking(has: u64) -> Option<Error> {
    let missing = FEATURES.iter().find(|(bit, ..)| has & bit == 0)?;
    Some(Error::Unsupported {
        feature: missing.1,
        needs: missing.2,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, FEATURES, Region, Userfault, lacking};
    use crate::pages::Committed;
    use crate::pages::testing::{as_each_user, in_a_fork, tracks_writes};

    #[test]
    fn every_user_can_track_writes() {
        if !tracks_writes() {
            return eprintln!("skipped: this kernel doesn't track writes");
        }
        as_each_user(|| {
            let tracked = Userfault::open().unwrap();
            let memory = Committed::new("heap", 8).unwrap();
            let region = Region::reserve(1, 8, 1).unwrap();
            assert!(tracked.register(&region, 0..9).is_err());
            region
                .map_private(0..4, &memory.reader().unwrap(), 0)
                .unwrap();
            assert_eq!(tracked.register(&region, 0..4), Ok(()));
            assert_eq!(tracked.register(&region, 4..4), Ok(()));
            in_a_fork(|| {
                assert_eq!(tracked.register(&region, 0..4), Err(Error::Foreign));
            });
        });
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = FEATURES.iter().fold(0, |sum, (bit, ..)| sum | bit);
        assert_eq!(lacking(all), None);
        for (bit, name, needs) in FEATURES {
            let error = lacking(all & !bit).unwrap();
            assert!(error.to_string().contains(name) && error.to_string().contains(needs));
        }
        assert!(lacking(0).is_some());
    }
}
