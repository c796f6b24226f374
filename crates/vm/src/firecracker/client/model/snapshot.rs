//! Machines on disk.

use serde::Serialize;
use std::path::PathBuf;

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Create {
    /// Where processors and devices go.
    pub snapshot_path: PathBuf,
    /// Where memory goes.
    pub mem_file_path: PathBuf,
    /// How much of it.
    pub snapshot_type: SnapshotType,
}

/// How much memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SnapshotType {
    /// All.
    Full,
    /// What was written since the last snapshot, in a file with holes for the rest. Firecracker
    /// calls it a developer preview.
    Diff,
}

/// What is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Processors and devices.
    pub snapshot_path: PathBuf,
    /// Where memory comes from.
    pub mem_backend: MemoryBackend,
    /// Whether differences can be written later.
    pub track_dirty_pages: bool,
    /// Whether it goes on at once.
    pub resume_vm: bool,
    /// Taps in place of those that the machine had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_overrides: Vec<NetworkOverride>,
    /// Another socket in place of the one it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock_override: Option<VsockOverride>,
    /// Whether the guest's clock goes on by the time that has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_realtime: Option<bool>,
    /// What its memory is made of from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<LoadedPages>,
}

/// Where memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryBackend {
    /// Which kind.
    pub backend_type: Backend,
    /// The file, or the socket.
    pub backend_path: PathBuf,
}

/// See [`MemoryBackend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Backend {
    /// A file that is mapped privately, and has to stay as long as the machine.
    File,
    /// A page server that listens there (userfaultfd(2)).
    Uffd,
}

/// A tap in place of the one that an interface had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkOverride {
    /// The interface.
    pub iface_id: String,
    /// The tap.
    pub host_dev_name: String,
}

/// Another place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VsockOverride {
    /// See [`Vsock`](super::Vsock).
    pub uds_path: PathBuf,
}

/// What a loaded machine's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LoadedPages {
    /// What it was made of.
    Snapshot,
    /// Pages of 4 KiB.
    None,
    /// See [`HugePages`](super::HugePages).
    Transparent,
    /// See there.
    #[serde(rename = "2M")]
    Huge,
}
