//! Disks.

use super::RateLimiter;
use serde::Serialize;
use std::path::PathBuf;

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Drive {
    /// Its name here: letters, digits and underscores.
    pub drive_id: String,
    /// Whether Firecracker tells the kernel to mount it as the root.
    pub is_root_device: bool,
    /// The file, unless another process serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<PathBuf>,
    /// Whether the guest may only read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_read_only: Option<bool>,
    /// Which partition of it is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// What a flush of the guest does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_type: Option<CacheType>,
    /// How the file is read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<IoEngine>,
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    /// Where the process listens that serves it (vhost-user).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// What a flush of the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CacheType {
    /// Nothing.
    Unsafe,
    /// It waits until the file is on disk.
    Writeback,
}

/// How a disk's file is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum IoEngine {
    /// By Firecracker's one thread.
    Sync,
    /// By io_uring(7).
    Async,
}

/// What is to change of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DriveUpdate {
    /// Its name here.
    pub drive_id: String,
    /// Another file, or the same, whose length has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<PathBuf>,
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}
