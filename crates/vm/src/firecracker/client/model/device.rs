//! Smaller devices.

use super::{RateLimiter, TokenBucket};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Streams between host and guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vsock {
    /// The guest's number, from 3 on. Each machine has its own socket, so it needn't be its own.
    pub guest_cid: u32,
    /// Where Firecracker listens for the host's connections. Those of the guest to its port N are
    /// made to `<this>_N`.
    pub uds_path: PathBuf,
}

/// The host's randomness.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Entropy {
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// The console.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Serial {
    /// The file or pipe that it is written to; Firecracker's standard output if it isn't given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_out_path: Option<PathBuf>,
    /// What is more than this is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<TokenBucket>,
}

/// A file that is a guest's memory (virtio-pmem).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pmem {
    /// Its name here: letters, digits and underscores.
    pub id: String,
    /// The file.
    pub path_on_host: PathBuf,
    /// Whether Firecracker tells the kernel to mount it as the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_device: Option<bool>,
    /// Whether the guest may only read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// Memory that can come later (virtio-mem).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hotplug {
    /// The most.
    pub total_size_mib: u32,
    /// What the host gives at once; 128 if it isn't given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_size_mib: Option<u32>,
    /// What the guest takes at once; 2 if it isn't given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size_mib: Option<u32>,
}

/// How much of it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct HotplugStatus {
    /// See [`Hotplug`].
    pub total_size_mib: u32,
    /// See there.
    pub slot_size_mib: u32,
    /// See there.
    pub block_size_mib: u32,
    /// What the guest has taken.
    pub plugged_size_mib: u32,
    /// What it was asked to take.
    pub requested_size_mib: u32,
}
