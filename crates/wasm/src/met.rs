//! What this process has done with what guests are made of.
//!
//! The controller of sandboxed canisters does none of it: each is a way in for whoever wrote the guest.
//! That is seen here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Deed {
    /// A module was unpacked.
    Unpacked,
    /// A module was read, in binary or as text.
    Parsed,
    /// Machine code was made of one.
    Compiled,
    /// Compiled code was taken over.
    Deserialized,
    /// An instance was made.
    Instantiated,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unpacked,
        Self::Parsed,
        Self::Compiled,
        Self::Deserialized,
        Self::Instantiated,
    ];

    /// How often this process has done it.
    #[must_use]
    pub fn count(self) -> u64 {
        COUNTS[self as usize].load(Relaxed)
    }

    pub(crate) fn note(self) {
        COUNTS[self as usize].fetch_add(1, Relaxed);
    }
}

static COUNTS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
