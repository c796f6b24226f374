//! What PAGEMAP_SCAN takes and gives (linux/fs.h, ioctl_pagemap_scan(2)).

/// `_IOWR('f', 16, struct pm_scan_arg)`.
pub(crate) const PAGEMAP_SCAN: libc::Ioctl = 0xC060_6610;
/// `PAGE_IS_PRESENT`.
pub(crate) const PRESENT: u64 = 1 << 3;

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) size: u64,
    pub(crate) flags: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) walk_end: u64,
    pub(crate) found: u64,
    pub(crate) found_length: u64,
    pub(crate) max_pages: u64,
    pub(crate) inverted: u64,
    pub(crate) all_of: u64,
    pub(crate) any_of: u64,
    pub(crate) returned: u64,
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) kinds: u64,
}
