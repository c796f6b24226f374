//! Names and codes that a prepared module and its host have to agree on.
//!
//! What each means is written in the [module](super)'s own documentation.

/// The module that hooks are imported from.
pub const HOOKS: &str = "__";
/// The hook that is called when the counter is negative.
pub const OUT_OF_INSTRUCTIONS: &str = "out_of_instructions";
/// The hook that is asked before the heap grows.
pub const GROW_HEAP: &str = "grow_heap";
/// The hook that is asked before stable memory grows.
pub const GROW_STABLE: &str = "grow_stable";
/// The hook that ends a call for a reason of [`Stop`].
pub const INTERNAL_TRAP: &str = "internal_trap";

/// The module of the System API.
pub const SYSTEM: &str = "ic0";

/// The guest's memory.
pub const HEAP: &str = "__heap";
/// Stable memory.
pub const STABLE: &str = "__stable";
/// The bytemap of stable memory.
pub const TOUCHED: &str = "__touched";
/// The counter of instructions left.
pub const INSTRUCTIONS: &str = "__instructions";
/// How many OS pages of stable memory may still be read for the first time.
pub const STABLE_READS_LEFT: &str = "__stable_reads_left";
/// How many OS pages of stable memory may still be written for the first time.
pub const STABLE_WRITES_LEFT: &str = "__stable_writes_left";
/// The table that callbacks are found in.
pub const TABLE: &str = "__table";
/// What was the start section.
pub const START: &str = "canister_start";

/// In a byte of the bytemap: the page was read.
pub const READ: u8 = 1;
/// In a byte of the bytemap: the page was written.
pub const WRITTEN: u8 = 2;

/// The size of a page that the bytemap counts, in bytes.
pub const OS_PAGE: u64 = 4096;
/// The size of a Wasm page, in bytes.
pub const WASM_PAGE: u64 = 65536;

/// The export that holds the guest's `n`th mutable global.
pub fn global(n: usize) -> String {
    format!("__global_{n}")
}

/// How many pages `__touched` has to have for `stable_pages` pages of stable memory.
pub const fn touched_pages(stable_pages: u64) -> u64 {
    let bytes = stable_pages.saturating_mul(WASM_PAGE / OS_PAGE);
    bytes.div_ceil(WASM_PAGE)
}

/// Why code that was put into a module ends the call: the codes of `internal_trap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Stop {
    /// A 32-bit call on stable memory above 4 GiB.
    StableTooBigFor32Bit = 1,
    /// Outside of stable memory.
    StableOutOfBounds = 2,
    /// Outside of the heap.
    HeapOutOfBounds = 3,
    /// More OS pages of stable memory written than the call may.
    StableWritesExceeded = 4,
    /// More OS pages of stable memory read than the call may.
    StableReadsExceeded = 5,
    /// Memory that was granted could not be made.
    GrowFailed = 6,
}

impl Stop {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::StableTooBigFor32Bit,
        Self::StableOutOfBounds,
        Self::HeapOutOfBounds,
        Self::StableWritesExceeded,
        Self::StableReadsExceeded,
        Self::GrowFailed,
    ];

    /// The code as it is passed to the hook.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// What a code means; `None` for one that no prepared module passes.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|stop| stop.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_back_and_others_are_not() {
        for stop in Stop::ALL {
            assert_eq!(Stop::from_code(stop.code()), Some(stop));
        }
        assert_eq!(Stop::from_code(0), None);
        assert_eq!(Stop::from_code(7), None);
    }

    #[test]
    fn one_page_of_bytemap_covers_256_mib() {
        assert_eq!(touched_pages(0), 0);
        assert_eq!(touched_pages(1), 1);
        assert_eq!(touched_pages(4096), 1);
        assert_eq!(touched_pages(4097), 2);
        assert_eq!(touched_pages(u64::MAX), u64::MAX / 65536 + 1);
    }
}
