//! The structures and numbers of linux/userfaultfd.h.

use crate::{Errno, check};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ops;

/// `UFFD_API`.
pub(super) const API: u64 = 0xAA;
/// `UFFD_USER_MODE_ONLY`.
pub(super) const USER_MODE_ONLY: libc::c_int = 1;
/// `UFFDIO_REGISTER_MODE_MISSING`.
pub(super) const REGISTER_MISSING: u64 = 1;

/// `UFFD_FEATURE_EVENT_FORK`.
pub(super) const EVENT_FORK: u64 = 1 << 1;
/// `UFFD_FEATURE_EVENT_REMOVE`.
pub(super) const EVENT_REMOVE: u64 = 1 << 3;
/// `UFFD_FEATURE_EVENT_UNMAP`.
pub(super) const EVENT_UNMAP: u64 = 1 << 6;

/// `_IO(0xAA, 0x00)`, of `/dev/userfaultfd`.
pub(super) const USERFAULTFD_IOC_NEW: libc::Ioctl = 0xAA00;
/// `_IOWR(0xAA, 0x3F, struct uffdio_api)`.
pub(super) const UFFDIO_API: Number<Api> = Number::new(0xC018_AA3F);
/// `_IOWR(0xAA, 0x00, struct uffdio_register)`.
pub(super) const UFFDIO_REGISTER: Number<Register> = Number::new(0xC020_AA00);
/// `_IOR(0xAA, 0x01, struct uffdio_range)`.
pub(super) const UFFDIO_UNREGISTER: Number<Range> = Number::new(0x8010_AA01);
/// `_IOR(0xAA, 0x02, struct uffdio_range)`.
pub(super) const UFFDIO_WAKE: Number<Range> = Number::new(0x8010_AA02);
/// `_IOWR(0xAA, 0x03, struct uffdio_copy)`.
pub(super) const UFFDIO_COPY: Number<Copy> = Number::new(0xC028_AA03);
/// `_IOWR(0xAA, 0x04, struct uffdio_zeropage)`.
pub(super) const UFFDIO_ZEROPAGE: Number<Fill> = Number::new(0xC020_AA04);
/// `_IOWR(0xAA, 0x08, struct uffdio_poison)`.
pub(super) const UFFDIO_POISON: Number<Fill> = Number::new(0xC020_AA08);

/// The number of a request, and the type of its argument.
pub(super) struct Number<T>(libc::Ioctl, std::marker::PhantomData<T>);

impl<T> Number<T> {
    /// The size that is part of the number has to be that of the type.
    const fn new(number: libc::Ioctl) -> Self {
        assert!((number >> 16) & 0x3FFF == size_of::<T>() as libc::Ioctl);
        Self(number, std::marker::PhantomData)
    }
}

/// `struct uffdio_api`.
#[repr(C)]
pub(super) struct Api {
    pub(super) api: u64,
    pub(super) features: u64,
    pub(super) ioctls: u64,
}

/// `struct uffdio_range`.
#[repr(C)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
pub(super) struct Register {
    pub(super) range: Range,
    pub(super) mode: u64,
    pub(super) ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
pub(super) struct Copy {
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) length: u64,
    pub(super) mode: u64,
    pub(super) copied: i64,
}

/// `struct uffdio_zeropage` and `struct uffdio_poison`, which are alike.
#[repr(C)]
pub(super) struct Fill {
    pub(super) range: Range,
    pub(super) mode: u64,
    pub(super) done: i64,
}

impl Fill {
    pub(super) fn of(addresses: &ops::Range<u64>) -> Self {
        Self {
            range: range(addresses),
            mode: 0,
            done: 0,
        }
    }
}

pub(super) fn range(addresses: &ops::Range<u64>) -> Range {
    Range {
        start: addresses.start,
        length: addresses.end.saturating_sub(addresses.start),
    }
}

/// One of the requests above, of a userfaultfd.
pub(super) fn request<T>(
    descriptor: &OwnedFd,
    number: Number<T>,
    argument: &mut T,
) -> Result<(), Errno> {
    let at = std::ptr::from_mut(argument);
    // SAFETY: the kernel reads and writes one structure, of the size that is in the number. Bytes
    // that it copies from an address are borrowed, or a mapping that is, by the caller; addresses
    // that it fills are missing pages of a `Memory` or of another process.
    check(unsafe { libc::ioctl(descriptor.as_raw_fd(), number.0, at) }.into()).map(drop)
}
