//! Memory that a guest gives back.

use serde::{Deserialize, Serialize};

/// The balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balloon {
    /// How much of the guest's memory it is to take.
    pub amount_mib: u32,
    /// Whether it gives some back when the guest has none left.
    pub deflate_on_oom: bool,
    /// How often the guest tells of its memory, seconds. Zero is never, and for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_polling_interval_s: Option<u16>,
    /// Whether the guest can be asked for all that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_page_hinting: Option<bool>,
    /// Whether it tells of what becomes free by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_page_reporting: Option<bool>,
}

/// What a guest tells of its memory. It may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Statistics {
    /// What the balloon is to take.
    pub target_mib: u32,
    /// What it has taken.
    pub actual_mib: u32,
    /// The same in pages.
    pub target_pages: u32,
    /// The same in pages.
    pub actual_pages: u32,
    /// Bytes that nobody uses.
    pub free_memory: Option<u64>,
    /// Bytes in all.
    pub total_memory: Option<u64>,
    /// Bytes that new programs could have.
    pub available_memory: Option<u64>,
    /// Bytes of files that are held, and could be read again.
    pub disk_caches: Option<u64>,
    /// Bytes from the guest's swap.
    pub swap_in: Option<u64>,
    /// Bytes to it.
    pub swap_out: Option<u64>,
    /// Faults that had to read something.
    pub major_faults: Option<u64>,
    /// Others.
    pub minor_faults: Option<u64>,
    /// How often the guest's kernel has killed for want of memory.
    pub oom_kill: Option<u64>,
}

/// Where a run of hinting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct HintingStatus {
    /// The host's last command.
    pub host_cmd: u32,
    /// The guest's.
    pub guest_cmd: Option<u32>,
}
