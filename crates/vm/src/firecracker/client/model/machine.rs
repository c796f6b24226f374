//! Processors, memory, and what is booted.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootSource {
    /// An uncompressed kernel, or since 1.16 a bzImage.
    pub kernel_image_path: PathBuf,
    /// The file system it starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<PathBuf>,
    /// What it is told. Firecracker adds where the devices are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

/// How large a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// 1 to 32.
    pub vcpu_count: u8,
    /// Its memory.
    pub mem_size_mib: u32,
    /// Whether a guest sees two of its processors as one core. [`MachineConfig::new`] says no, since
    /// siblings of a core see each other's traces.
    #[serde(default)]
    pub smt: bool,
    /// Whether differences can be written.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// What its memory is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePages>,
    /// The old form of the processors' configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<String>,
}

impl MachineConfig {
    /// One without further wishes.
    pub fn new(vcpu_count: u8, mem_size_mib: u32) -> Self {
        Self {
            vcpu_count,
            mem_size_mib,
            smt: false,
            track_dirty_pages: false,
            huge_pages: None,
            cpu_template: None,
        }
    }
}

/// What is to change of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MachineUpdate {
    /// See [`MachineConfig`], as the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu_count: Option<u8>,
    /// Its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_size_mib: Option<u32>,
    /// Two processors to a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_dirty_pages: Option<bool>,
    /// Pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePages>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<String>,
}

/// What a guest's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HugePages {
    /// Pages of 4 KiB.
    #[default]
    None,
    /// Larger ones where the kernel finds some (madvise(2), `MADV_HUGEPAGE`).
    Transparent,
    /// 2 MiB each, of those that the administrator has put aside. Such a machine is restored by a
    /// page server alone.
    #[serde(rename = "2M")]
    Huge,
}
