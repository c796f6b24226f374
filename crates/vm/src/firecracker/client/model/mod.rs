//! What the API is told, and what it answers.
//!
//! Names, units and defaults are Firecracker's: `src/firecracker/swagger/firecracker.yaml` in its
//! source, 1.17. What is `None` isn't sent, so that an older Firecracker isn't told of what it
//! doesn't know.

mod balloon;
mod device;
mod drive;
mod host;
mod instance;
mod machine;
mod network;
mod rate;
mod snapshot;

pub use balloon::{Balloon, HintingStatus, Statistics};
pub use device::{Entropy, Hotplug, HotplugStatus, Pmem, Serial, Vsock};
pub use drive::{CacheType, Drive, DriveUpdate, IoEngine};
pub use host::{Level, Logger, Metrics};
pub use instance::{Info, InstanceState, VmState};
pub use machine::{BootSource, HugePages, MachineConfig, MachineUpdate};
pub use network::{Interface, InterfaceUpdate, MmdsConfig, MmdsVersion};
pub use rate::{RateLimiter, TokenBucket};
pub use snapshot::{
    Backend, Create, Load, LoadedPages, MemoryBackend, NetworkOverride, SnapshotType, VsockOverride,
};
